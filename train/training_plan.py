"""The training_plan of a command: which networks it trains, in which order, and what must be found before."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from shared.errors import RunError, UsageError
from shared.mixing.pool import Pool
from shared.mixing.tasks import Task
from shared.rebalance.options import EstimatorSettings
from shared.rebalance.policies import make_policy
from train.forecast import Job
from train.grouping.groups import Grouping, degradations, load_grouping, require_same_groups
from train.grouping.trials import Launcher, Trials, make_grouping
from train.loop import RunSpec
from train.networks.weights import NetworkSpec, Weights, load_weights, weights_digest
from train.optimisation.stages import make_stage
from train.record.checkpoint import begun_with, weights_file
from train.record.references import PACK, References, Trace, load_pack, load_trace, require_same_protocol
from train.record.resume import require_resumable
from train.settings import GROUPS, GroupingSettings, TrainSettings


class TrainingPlan:
    """Which networks a command trains; all of them start from the same weights."""

    def __init__(self, settings: TrainSettings, tasks: list[Task], pool: Pool | None = None) -> None:
        """Raises `UsageError` for an unknown network, `RunError` for an init file that does not fit it."""
        self.settings, self.tasks, self.pool = settings, tasks, pool
        self.policy = make_policy(settings.policy, settings.policy_options, settings.seed)
        if self.policy.needs_moments and not settings.moments:
            raise UsageError(f"policy {settings.policy} needs the moments of gradients: give --moments 16 or more")
        if settings.mode == "shared" and self.policy.needs_references and len(tasks) == 1:
            raise UsageError(
                f"policy {settings.policy} balances several tasks, and there is only {tasks[0].name}: "
                "take --policy uniform or render others"
            )
        if settings.accumulate > 1 and self.policy.every_step:
            raise UsageError(
                f"accumulate is {settings.accumulate}: policy {settings.policy} looks at whole batches; take 1"
            )
        self.spec = NetworkSpec(settings.network.name, settings.network.options, tasks[0].scale)
        make_stage(settings).require_patch(tasks[0].patch)
        if settings.init:
            network = self.spec.load(load_weights(weights_file(Path(settings.init))), settings.init)
        else:
            network = self.spec.build(settings.seed)
        self.initial: Weights = network.state_dict()
        self._init_sha256 = weights_digest(self.initial)
        self.pack = self._pack()
        if settings.groups and settings.mode != "groups" and not self.policy.needs_groups:
            raise UsageError(f"groups is {settings.groups}: policy {settings.policy} has none, leave it out")
        self.groups_file = Path(settings.groups or f"{settings.run}/{GROUPS}")
        self.grouping = self._grouping()

    @property
    def references_folder(self) -> Path:
        """Where the references' runs are."""
        return Path(self.settings.references or f"{self.settings.run}/references")

    def _pack(self) -> dict[str, Trace] | None:
        """The traces of the pack that --references names, each of the run's protocol and as long as the run."""
        path, settings = self.references_folder, self.settings
        if path.suffix != ".json":
            return None
        if settings.mode != "shared":
            raise UsageError(f"--references {path} is a pack: --mode {settings.mode} needs a folder to train in")
        if not path.is_file():
            raise UsageError(f"no reference pack {path}: --mode references writes one, {PACK}, beside its runs")
        traces = load_pack(path)
        for task in self.tasks:
            if task.name not in traces:
                raise RunError(f"{path} has no reference of task {task.name}: it holds {', '.join(traces)}")
            require_same_protocol(traces[task.name], self.protocol(task), path)
            if traces[task.name].last_step < settings.iterations:
                raise RunError(
                    f"the reference of {task.name} in {path} ends at step {traces[task.name].last_step}, this run at "
                    f"{settings.iterations}: use fewer --iterations or another pack"
                )
        return traces

    @property
    def uses_groups(self) -> bool:
        """Whether frozen plans are looked for, or trained on."""
        return self.settings.mode == "groups" or (self.settings.mode == "shared" and self.policy.needs_groups)

    @property
    def lacks_groups(self) -> bool:
        """Whether groups must be made first."""
        return self.uses_groups and self.grouping is None

    def _grouping(self) -> Grouping | None:
        """The groups in use, if they are there: then they must fit."""
        if not self.uses_groups or not self.groups_file.is_file():
            return None
        grouping = load_grouping(self.groups_file, self.tasks)
        require_same_groups(grouping, self.groups_protocol(), self.groups_file)
        return grouping

    def groups_protocol(self) -> dict[str, Any]:
        """How groups are found, and from what."""
        settings, names = self.settings, ("batch_size", "lr", "flip", "precision", "clip", "seed")
        return {
            "network": asdict(self.spec),
            "init_sha256": self._init_sha256,
            "degradations": degradations(self.tasks),
            "grouping": asdict(settings.grouping),
            "patch": self.tasks[0].patch,
            "val_rows": self.tasks[0].val_manifest.identity(),
            **{name: getattr(settings, name) for name in names},
        }

    def make_groups(self, launcher: Launcher) -> None:
        """Find the groups and write their file."""
        trials = Trials(self.settings, self.tasks, self.spec, self.initial, launcher, self.pool)
        self.grouping = make_grouping(trials, self.groups_protocol(), self.groups_file)

    def traces(self) -> list[Trace]:
        """The references in use, of which there are any, in the order of tasks."""
        if self.pack:
            return [self.pack[task.name] for task in self.tasks]
        traces = [load_trace(self.references_folder / task.name) for task in self.tasks]
        return [trace for trace in traces if trace]

    @property
    def uses_references(self) -> bool:
        """Whether gaps are estimated: the policy needs them, or references were named to log them."""
        return self.policy.needs_references or self.settings.references is not None

    def protocol(self, task: Task, run: Path | None = None) -> dict[str, Any]:
        """What a reference must have in common with the shared run, so that equal steps mean equal training.

        run: whose, if not the shared one's; rows that it has taken up since it was begun do not count.
        """
        settings = self.settings
        return {
            "network": asdict(self.spec),
            "init_sha256": self._init_sha256,
            "interval_steps": settings.interval_steps,
            "batch_size": settings.batch_size,
            "lr": settings.lr,
            "ema": settings.ema,
            "flip": settings.flip,
            "stage": settings.stage,
            **({"gan": asdict(settings.gan)} if settings.stage == "gan" else {}),
            "precision": settings.precision,
            "clip": settings.clip,
            "train_rows": begun_with(run or Path(settings.run), f"{task.name}/train") or task.identity(),
            "val_rows": task.val_manifest.identity(),
        }

    def jobs(self) -> list[Job]:
        """What to train, in this order. Raises `UsageError` when the run was begun with other settings."""
        settings = self.settings
        if settings.mode == "shared":
            folder = Path(settings.run)
            require_resumable(folder, settings)  # before any reference is trained for it
            missing = [self._reference_job(task) for task in self._missing_references()]
            return [*missing, Job("shared", folder, self.tasks, self.shared)]
        if settings.mode == "groups":
            return []
        chosen = self.tasks if settings.mode == "references" else [_named(self.tasks, settings)]
        return [self._reference_job(task) for task in chosen]

    def _reference_job(self, task: Task) -> Job:
        return Job(f"reference {task.name}", self.references_folder / task.name, [task], lambda: self.reference(task))

    def _missing_references(self) -> list[Task]:
        """The tasks whose reference is in use and not trained to the end; those that are must fit."""
        if self.pack or not self.uses_references:
            return []
        missing = []
        for task in self.tasks:
            trace = load_trace(self.references_folder / task.name)
            if trace:
                require_same_protocol(trace, self.protocol(task), self.references_folder / task.name)
            if trace is None or str(self.settings.iterations) not in trace.psnr_db:
                missing.append(task)
        return missing

    def reference(self, task: Task) -> RunSpec:
        """A network trained on one task alone."""
        folder = self.references_folder / task.name
        settings = replace(
            self.settings,
            mode="single",
            task=task.name,
            policy="uniform",
            policy_options={},
            estimator=EstimatorSettings(),
            moments=0,
            groups=None,
            grouping=GroupingSettings(),
        )
        protocol = self.protocol(task, folder)
        trace = load_trace(folder) or Trace(task.name, protocol)
        require_same_protocol(trace, protocol, folder)
        return RunSpec(
            folder,
            f"reference {task.name}",
            settings,
            [task],
            self.spec,
            self.initial,
            make_policy("uniform"),
            trace=trace,
            pool=self.pool,
        )

    def shared(self) -> RunSpec:
        """The network trained on all tasks."""
        references = References(self.traces()) if self.uses_references else None
        return RunSpec(
            Path(self.settings.run),
            "shared",
            self.settings,
            self.tasks,
            self.spec,
            self.initial,
            self.policy,
            references=references,
            pool=self.pool,
            grouping=self.grouping,
        )


def _named(tasks: list[Task], settings: TrainSettings) -> Task:
    for task in tasks:
        if task.name == settings.task:
            return task
    raise UsageError(f"task {settings.task!r} is not in {settings.shards}: choose {', '.join(t.name for t in tasks)}")
