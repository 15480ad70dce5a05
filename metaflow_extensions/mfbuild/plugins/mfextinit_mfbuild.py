"""What mfbuild adds to Metaflow; each part is imported where Metaflow asks for it."""

CLIS_DESC = [("flyte", ".flyte.cli.cli")]
STEP_DECORATORS_DESC = [("flyte", ".flyte.decorators.FlyteStepDecorator")]
FLOW_DECORATORS_DESC = [("flyte", ".flyte.decorators.FlyteFlowDecorator")]
DEPLOYER_IMPL_PROVIDERS_DESC = [("flyte", ".flyte.deployer.FlyteDeployer")]
