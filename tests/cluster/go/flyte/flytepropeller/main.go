// Flytepropeller with the plugins that containers and maps of containers need.
// The project's own command imports more, among them a module that cannot be had any more.
package main

import (
	"github.com/flyteorg/flyte/flytepropeller/cmd/controller/cmd"

	_ "github.com/flyteorg/flyte/flyteplugins/go/tasks/plugins/array/k8s"
	_ "github.com/flyteorg/flyte/flyteplugins/go/tasks/plugins/k8s/pod"
)

func main() { cmd.Execute() }
