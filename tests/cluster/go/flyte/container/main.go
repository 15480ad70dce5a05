// Container is all that runs in the pods of the harness's own tests.
//
//	container pause                                   waits for a signal, as the pod's sandbox
//	container task PREFIX [NAME=BASE64]...            writes files below PREFIX, an s3 address
//	container flaky                                   fails on its first attempt
//	container nothing ARGUMENT...                     succeeds
package main

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/aws/aws-sdk-go/aws"
	"github.com/aws/aws-sdk-go/aws/credentials"
	"github.com/aws/aws-sdk-go/aws/session"
	"github.com/aws/aws-sdk-go/service/s3"
)

func main() {
	if err := run(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(command string, args []string) error {
	switch command {
	case "pause":
		ended := make(chan os.Signal, 1)
		signal.Notify(ended, syscall.SIGINT, syscall.SIGTERM)
		<-ended
		return nil
	case "task":
		return write(args[0], args[1:])
	case "flaky":
		if os.Getenv("FLYTE_ATTEMPT_NUMBER") == "0" {
			return errors.New("the first attempt fails")
		}
		return nil
	case "nothing":
		return nil
	}
	return fmt.Errorf("unknown command %q", command)
}

func write(prefix string, files []string) error {
	target, err := url.Parse(prefix)
	if err != nil {
		return err
	}
	client, err := store()
	if err != nil {
		return err
	}
	for _, file := range files {
		name, text, _ := strings.Cut(file, "=")
		data, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return err
		}
		key := strings.TrimPrefix(target.Path, "/") + "/" + name
		_, err = client.PutObject(&s3.PutObjectInput{
			Bucket: &target.Host, Key: &key, Body: bytes.NewReader(data),
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// The variables are those that the engine gives every pod.
func store() (*s3.S3, error) {
	opened, err := session.NewSession(&aws.Config{
		Region:           aws.String("us-east-1"),
		Endpoint:         aws.String(os.Getenv("FLYTE_AWS_ENDPOINT")),
		S3ForcePathStyle: aws.Bool(true),
		Credentials: credentials.NewStaticCredentials(
			os.Getenv("FLYTE_AWS_ACCESS_KEY_ID"), os.Getenv("FLYTE_AWS_SECRET_ACCESS_KEY"), ""),
	})
	return s3.New(opened), err
}
