// Flyteworkflow compiles a workflow with Flyte's own compiler, as flyteadmin does when one is
// registered, and prints the compiled core.CompiledWorkflowClosure; or the FlyteWorkflow resource of
// an execution, as flyteadmin makes it when one is started. (kubectl-flyte does so too, but knows no
// sub-workflows.)
//
// Standard input is a core.CompiledWorkflowClosure of which the templates alone are filled in:
// the workflow, its sub-workflows and all tasks.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"

	"google.golang.org/protobuf/proto"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flytepropeller/pkg/apis/flyteworkflow/v1alpha1"
	"github.com/flyteorg/flyte/flytepropeller/pkg/compiler"
	"github.com/flyteorg/flyte/flytepropeller/pkg/compiler/common"
	"github.com/flyteorg/flyte/flytepropeller/pkg/compiler/transformers/k8s"
)

func main() {
	execution := flag.String("execution", "", "name of the execution to make a resource for")
	inputs := flag.String("inputs", "", "file of its inputs, a core.LiteralMap")
	flag.Parse()
	if err := run(*execution, *inputs); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(execution, inputs string) error {
	templates := &core.CompiledWorkflowClosure{}
	data, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	if err := proto.Unmarshal(data, templates); err != nil {
		return err
	}
	closure, err := compile(templates)
	if err != nil {
		return err
	}
	if execution == "" {
		data, err := proto.Marshal(closure)
		if err != nil {
			return err
		}
		_, err = os.Stdout.Write(data)
		return err
	}
	resource, err := build(closure, execution, inputs)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(resource)
}

func compile(templates *core.CompiledWorkflowClosure) (*core.CompiledWorkflowClosure, error) {
	tasks := []*core.CompiledTask{}
	for _, task := range templates.GetTasks() {
		compiled, err := compiler.CompileTask(task.GetTemplate())
		if err != nil {
			return nil, err
		}
		tasks = append(tasks, compiled)
	}
	subs := []*core.WorkflowTemplate{}
	for _, sub := range templates.GetSubWorkflows() {
		subs = append(subs, sub.GetTemplate())
	}
	primary := templates.GetPrimary().GetTemplate()
	return compiler.CompileWorkflow(primary, subs, tasks, []common.InterfaceProvider{})
}

func build(closure *core.CompiledWorkflowClosure, execution, inputs string) (*v1alpha1.FlyteWorkflow, error) {
	literals := &core.LiteralMap{}
	data, err := os.ReadFile(inputs)
	if err != nil {
		return nil, err
	}
	if err := proto.Unmarshal(data, literals); err != nil {
		return nil, err
	}
	workflow := closure.GetPrimary().GetTemplate().GetId()
	id := &core.WorkflowExecutionIdentifier{
		Project: workflow.GetProject(), Domain: workflow.GetDomain(), Name: execution,
	}
	namespace := workflow.GetProject() + "-" + workflow.GetDomain()
	resource, err := k8s.BuildFlyteWorkflow(closure, literals, id, namespace)
	if err != nil {
		return nil, err
	}
	resource.Kind = "FlyteWorkflow" // as the typed client of Kubernetes sends it
	// The version that Flyte's charts set. Below it, propeller renames the nodes of futures.pb but
	// not the upstream_node_ids that name them.
	resource.WorkflowMeta = &v1alpha1.WorkflowMeta{EventVersion: v1alpha1.EventVersion2}
	resource.ExecutionID = v1alpha1.WorkflowExecutionIdentifier{WorkflowExecutionIdentifier: id}
	return resource, nil
}
