"""What the Deployer gives: flows that are deployed to Flyte, and runs of them."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from typing import Any

from metaflow.client.core import get_metadata
from metaflow.runner.deployer import DeployedFlow, TriggeredRun
from metaflow.runner.utils import get_lower_level_group, handle_timeout, temporary_fifo

from .stand_in import deployed_names, stand_in


class FlyteTriggeredRun(TriggeredRun):
    """A run that was triggered on Flyte."""

    @property
    def status(self) -> str | None:
        """
        The status of the run: Pending, Running, Succeeded, Failed, Aborted or TimedOut.

        Returns
        -------
        str, optional
            None where it cannot be retrieved.
        """
        said, output = _call(self.deployer, "status", run_id=self._run_id)
        return output.strip() or None if said else None

    @property
    def is_running(self) -> bool:
        """
        Whether the run has begun, or will, and has not ended.

        Returns
        -------
        bool
        """
        return self.status in ("Pending", "Running")

    def terminate(self, **kwargs: Any) -> bool:
        """
        Terminate the running workflow.

        Parameters
        ----------
        authorize : str, optional, default None
            Authorize the termination with a production token.

        Returns
        -------
        bool
            True if the command was successful, False otherwise.
        """
        return _call(self.deployer, "terminate", run_id=self._run_id, **kwargs)[0]

    def wait_for_completion(self, check_interval: int = 5, timeout: int | None = None) -> None:
        """
        Wait for the workflow to complete or timeout.

        Parameters
        ----------
        check_interval : int, default 5
            Frequency of checking for workflow completion, in seconds.
        timeout : int, optional, default None
            Maximum time in seconds to wait for workflow completion. If None, waits indefinitely.

        Raises
        ------
        TimeoutError
            If the workflow does not complete within the specified timeout period.
        """
        began = time.monotonic()
        while self.is_running:
            if timeout is not None and time.monotonic() - began > timeout:
                raise TimeoutError("Workflow did not complete within specified timeout.")
            time.sleep(check_interval)

    @property
    def _run_id(self) -> str:
        return str(self.pathspec).rpartition("/")[2]


class FlyteDeployedFlow(DeployedFlow):
    """A flow that is deployed to Flyte."""

    TYPE = "flyte"

    @classmethod
    def from_deployment(cls, identifier: str, metadata: str | None = None) -> FlyteDeployedFlow:
        """
        Find a deployed flow, without its file.

        Parameters
        ----------
        identifier : str
            The name that it has on Flyte, `Flow` or `project.branch.Flow`; `project/domain/name`
            where it is elsewhere than BUILD.toml says.
        metadata : str, optional, default None
            Metaflow's metadata provider for its runs; the configured one by default.

        Returns
        -------
        FlyteDeployedFlow
            The deployed flow.
        """
        deployer = stand_in(identifier)
        deployer.metadata = metadata or get_metadata()
        return cls(deployer=deployer)

    @classmethod
    def list_deployed_flows(cls, flow_name: str | None = None) -> Iterator[FlyteDeployedFlow]:
        """
        The deployed flows of the domain that is the default.

        Parameters
        ----------
        flow_name : str, optional, default None
            Only deployments of this flow.

        Yields
        ------
        FlyteDeployedFlow
            Each of them.
        """
        for name in deployed_names():
            if flow_name in (None, name.rpartition(".")[2]):
                yield cls.from_deployment(name)

    @classmethod
    def get_triggered_run(
        cls, identifier: str, run_id: str, metadata: str | None = None
    ) -> FlyteTriggeredRun:
        """
        Find a run of a deployed flow.

        Parameters
        ----------
        identifier : str
            As for `from_deployment`.
        run_id : str
            Metaflow's run id, `flyte-…`.
        metadata : str, optional, default None
            As for `from_deployment`.

        Returns
        -------
        FlyteTriggeredRun
            The run.
        """
        deployer = cls.from_deployment(identifier, metadata).deployer
        content = {
            "metadata": deployer.metadata,
            "pathspec": f"{deployer.flow_name}/{run_id}",
            "name": run_id,
        }
        return FlyteTriggeredRun(deployer=deployer, content=json.dumps(content))

    def trigger(self, **kwargs: Any) -> FlyteTriggeredRun:
        """
        Trigger a new run for the deployed flow.

        Parameters
        ----------
        **kwargs : Any
            Additional arguments to pass to the trigger command, `Parameters` in particular.

        Returns
        -------
        FlyteTriggeredRun
            The triggered run.
        """
        return self._started("trigger", **kwargs)

    def resume(self, origin_run_id: str, **kwargs: Any) -> FlyteTriggeredRun:
        """
        Go on with a run that failed, in a new run of the deployed version.

        Parameters
        ----------
        origin_run_id : str
            Metaflow's id of the run that failed, `flyte-…`.
        step : str, optional, default None
            Run this step again, and all that follow it.

        Returns
        -------
        FlyteTriggeredRun
            The new run.
        """
        return self._started("resume", run_id=origin_run_id, deployed=True, wait=False, **kwargs)

    def delete(self, **kwargs: Any) -> bool:
        """
        End the deployment: no version is active any more.

        Parameters
        ----------
        authorize : str, optional, default None
            Authorize the deletion with a production token.

        Returns
        -------
        bool
            True if the command was successful, False otherwise.
        """
        return _call(self.deployer, "delete", **kwargs)[0]

    def _started(self, command: str, **kwargs: Any) -> FlyteTriggeredRun:
        deployer = self.deployer
        fifo: Any = temporary_fifo()
        with fifo as (path, descriptor):
            process = _process(deployer, command, deployer_attribute_file=path, **kwargs)
            content = handle_timeout(descriptor, process, deployer.file_read_timeout)
            process.sync_wait()
            if process.process.returncode == 0:
                return FlyteTriggeredRun(deployer=deployer, content=content)
        raise RuntimeError(f"Error with {command} of {self.name} on Flyte")


def _call(deployer: Any, command: str, **kwargs: Any) -> tuple[bool, str]:
    """Whether a command of `flow.py flyte` succeeded, and what it printed."""
    process = _process(deployer, command, **kwargs)
    process.sync_wait()
    with open(process.log_files["stdout"], encoding="utf-8") as file:  # noqa: PTH123
        return process.process.returncode == 0, file.read()


def _process(deployer: Any, command: str, **kwargs: Any) -> Any:
    group = get_lower_level_group(
        deployer.api, deployer.top_level_kwargs, deployer.TYPE, deployer.deployer_kwargs
    )
    pid = deployer.spm.run_command(
        [sys.executable, *getattr(group, command)(**kwargs)],
        env=deployer.env_vars,
        cwd=deployer.cwd,
        show_output=deployer.show_output and command != "status",
    )
    return deployer.spm.get(pid)
