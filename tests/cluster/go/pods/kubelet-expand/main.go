// kubelet-expand says what Kubernetes makes of texts in a container's command, args and env.
package main

import (
	"encoding/json"
	"os"

	"k8s.io/kubernetes/third_party/forked/golang/expansion"
)

// Texts and variables as JSON on stdin; the expanded texts, each as its bytes in base64, on stdout.
func main() {
	var in struct {
		Texts     []string
		Variables map[string]string
	}
	if err := json.NewDecoder(os.Stdin).Decode(&in); err != nil {
		panic(err)
	}
	mapping := expansion.MappingFuncFor(in.Variables)
	expanded := make([][]byte, len(in.Texts))
	for i, text := range in.Texts {
		expanded[i] = []byte(expansion.Expand(text, mapping))
	}
	if err := json.NewEncoder(os.Stdout).Encode(expanded); err != nil {
		panic(err)
	}
}
