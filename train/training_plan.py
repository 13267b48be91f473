"""The training plan of a command: which networks it trains, in which order, and what must be found before."""

from collections.abc import Sequence
from dataclasses import MISSING, asdict, is_dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn

from shared.effects import COMPARABLE, absent_values, affecting, is_by_content, to_plain
from shared.errors import RunError, UsageError
from shared.mixing.pool import HRPool
from shared.mixing.sources import require_plans
from shared.mixing.tasks import Task
from shared.rebalance.mixtures import describe, make_plan
from shared.rebalance.policies import make_policy
from shared.rebalance.policies.planned import Planned
from shared.rebalance.references import References, Trace, difference, require_same_protocol
from train.grouping.groups import Grouping, degradations, load_grouping
from train.grouping.trials import Trials, make_grouping
from train.loop import RunSpec
from train.networks.weights import NetworkSpec, Weights, load_weights, weights_digest
from train.optimisation.stages import make_stage
from train.optimisation.step import Launcher
from train.record.checkpoint import MODEL, weights_file
from train.record.mixtures import MIXTURE, load_mixture, save_choice
from train.record.references import PILOT, load_pack, load_trace
from train.record.resume import HR, INIT, begun_settings, references_place, require_resumable, require_same_contents
from train.record.state import latest_checkpoint, recorded_identities
from train.settings import GROUPS, TrainSettings

SHARED = "shared"
"""Title of the network that is trained on all tasks."""
SUPPLY = ("source", "hr", "patch", "max_repeats")
"""Options that say where samples come from; `train_rows` and `supply` say what they come to."""
FIXED_IN_TRIALS = ("interval_steps", "stage", "gan", "ema", "ema_warmup", "schedule")
"""Options that trials of frozen plans do not follow (`train/grouping/trials.py`)."""
NO_MIXTURE = TrainSettings(policy="uniform")
"""How a reference mixes its one task."""
ABSENT = {**absent_values(TrainSettings), "source": "shards"}
"""What a protocol means by an option that is not in it."""


class TrainingPlan:
    """Which networks a command trains; all of them start from the same weights. notes: what a person should know."""

    def __init__(self, settings: TrainSettings, tasks: list[Task], pool: HRPool | None = None) -> None:
        """Raises `UsageError` for what does not fit the tasks, `RunError` for an init file that does not fit."""
        self.settings, self.tasks, self.pool = settings, tasks, pool
        require_plans(tasks, settings.source)
        self.notes: list[str] = []
        self.reference_settings = replace(settings, stage=settings.reference_stage or settings.stage)
        self.references_folder = references_place(settings)  # or a pack
        self.pilot_folder, self.mixture_file = Path(settings.run) / PILOT, Path(settings.run) / MIXTURE
        self.policy = make_policy(settings.policy, settings.policy_options, settings.seed)
        # gaps are estimated if the policy needs them, and logged if references were named
        self.uses_references = self.policy.needs_references or settings.references is not None
        self.uses_groups = settings.mode == "groups" or (settings.mode == "shared" and self.policy.needs_groups)
        if self.policy.needs_moments and not settings.moments:
            raise UsageError(f"policy {settings.policy} needs the moments of gradients: give --moments 16 or more")
        if settings.mode == "shared":
            self.policy.require_tasks([task.name for task in tasks])
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
        stage = make_stage(settings)
        stage.require_patch(tasks[0].patch)
        self.contents = stage.contents() | ({HR: pool.identity()} if pool else {})
        self.init_is_gone = bool(settings.init) and not Path(str(settings.init)).exists()
        self.initial: Weights = self._initial()
        self._init_sha256 = self._recorded_init() if self.init_is_gone else weights_digest(self.initial)
        if settings.init and self._init_sha256:
            self.contents[INIT] = self._init_sha256
        self.pack = self._pack()
        if settings.groups and settings.mode != "groups" and not self.policy.needs_groups:
            raise UsageError(f"groups is {settings.groups}: policy {settings.policy} has none, leave it out")
        self.groups_file = Path(settings.groups or f"{settings.run}/{GROUPS}")
        if self.uses_groups and (adopted := [task.name for task in tasks if task.plans is None]):
            raise UsageError(
                f"frozen plans are drawn from the plans of the tasks, and {', '.join(adopted)} has none, because its "
                "pairs were made elsewhere: name the other tasks with --tasks, or take a policy without groups"
            )
        self.grouping = self._grouping()

    def require_whole_batches(self, parts: int) -> None:
        """Raises `UsageError` when a batch is taken in parts whose statistics the network would normalise by."""
        network = self.spec.load(self.initial, "init")
        if parts > 1 and any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules()):
            raise UsageError(
                f"the network has batch normalisation and a batch is taken in {parts} parts, so losses would depend on "
                "their number: train in one process without --accumulate"
            )

    @property
    def lacks_mixture(self) -> bool:
        """Whether a mixture must be chosen before the shared network is trained."""
        return self.settings.mode == "shared" and self.policy.needs_mixture and not self.mixture_file.is_file()

    def _initial(self) -> Weights:
        """What all networks begin from; where that file is gone, the weights of a run that has begun.

        Raises `UsageError` when there are neither.
        """
        init = self.settings.init
        if init is None:
            return self.spec.build(self.settings.seed).state_dict()
        file, begun = Path(init), [folder for folder in self._folders() if latest_checkpoint(folder)]
        if self.init_is_gone and begun:
            checkpoint = latest_checkpoint(begun[0])
            assert checkpoint
            file = checkpoint / f"{MODEL}.safetensors"
        network, notes = self.spec.begin(load_weights(weights_file(file)), str(file), self.settings.seed)
        self.notes += notes
        return network.state_dict()

    def _recorded_init(self) -> str:
        """The digest of an init file that is gone, as a run that began from it recorded it; empty where none did."""
        for folder in self._folders():
            trace = load_trace(folder)
            found = recorded_identities(folder).get(INIT) or (trace.protocol.get("init_sha256") if trace else None)
            if found:
                return found
        return ""

    def _folders(self) -> list[Path]:
        """The runs of a command: the shared one, the references and the pilot."""
        shared = [Path(self.settings.run)] if self.settings.mode == "shared" else []
        singles = [folder / task.name for folder in (self.references_folder, self.pilot_folder) for task in self.tasks]
        return [*shared, *singles]

    def _pack(self) -> dict[str, Trace] | None:
        """The traces of the pack that --references names, each of the run's protocol and as long as the run."""
        path, settings = self.references_folder, self.settings
        if not path.is_file():
            return None
        if settings.mode != "shared":
            raise UsageError(f"--references {path} is a pack: --mode {settings.mode} needs a folder to train in")
        traces = load_pack(path)
        for task in self.tasks:
            if task.name not in traces:
                raise RunError(f"{path} has no reference of task {task.name}: it holds {', '.join(traces)}")
            require_same_protocol(traces[task.name], self.protocol(task), path, ABSENT)
            if traces[task.name].last_step < settings.iterations:
                raise RunError(
                    f"the reference of {task.name} in {path} ends at step {traces[task.name].last_step}, this run at "
                    f"{settings.iterations}: use fewer --iterations or another pack"
                )
        return traces

    @property
    def lacks_groups(self) -> bool:
        """Whether groups must be made first."""
        return self.uses_groups and self.grouping is None

    def _grouping(self) -> Grouping | None:
        """The groups in use, if they are there: then they must fit."""
        if not self.uses_groups or not self.groups_file.is_file():
            return None
        grouping = load_grouping(self.groups_file, self.tasks)
        if found := difference(grouping.protocol, self.groups_protocol(), ABSENT, ("seed",)):  # runs may share one file
            raise RunError(
                f"{self.groups_file} was made with {found}: use the same setting, or another --groups (it is made if "
                "it is not there)"
            )
        return grouping

    def groups_protocol(self) -> dict[str, Any]:
        """How groups are found, and from what."""
        return {
            **self._comparable(self.settings, FIXED_IN_TRIALS),
            "degradations": degradations(self.tasks),
            "grouping": to_plain(self.settings.grouping),
            "patch": self.tasks[0].patch,
            "seed": self.settings.seed,
            "val_rows": self.tasks[0].val_manifest.identity(),
        }

    def _comparable(self, settings: TrainSettings, without: Sequence[str] = ()) -> dict[str, Any]:
        """The options that make equal steps equal training, and what they start from.

        An option that is younger than some traces and packs is left out while it has the value that they had in effect.
        """
        absent = absent_values(TrainSettings)
        found: dict[str, Any] = {}
        for name in affecting(TrainSettings, *COMPARABLE):
            value = getattr(settings, name)
            if not (
                name in (*SUPPLY, *without) or is_by_content(TrainSettings, name) or value == absent.get(name, MISSING)
            ):
                found[name] = to_plain(value) if is_dataclass(value) else value
        found["network"] = asdict(self.spec)
        if settings.stage != "gan":
            found.pop("gan", None)
        if settings.schedule.name == "cosine" and "schedule" in found:
            found["iterations"] = settings.iterations  # where the rate falls to
        return {**found, "init_sha256": self._init_sha256}

    def make_groups(self, launcher: Launcher) -> None:
        """Find the groups and write their file."""
        trials = Trials(self.settings, self.tasks, self.spec, self.initial, launcher, self.pool)
        self.grouping = make_grouping(trials, self.groups_protocol(), self.groups_file)

    def traces(self) -> list[Trace]:
        """The references in use, of which there are any, in the order of tasks."""
        if self.pack:
            return [self.pack[task.name] for task in self.tasks]
        return self._traces_in(self.references_folder)

    def _traces_in(self, folder: Path) -> list[Trace]:
        return [trace for trace in (load_trace(folder / task.name) for task in self.tasks) if trace]

    def protocol(self, task: Task, run: Path | None = None) -> dict[str, Any]:
        """What a reference must have in common with the shared run, so that equal steps mean equal training.

        run: whose, if not the shared one's; rows that it has taken up since it was begun do not count.
        """
        settings = self.settings
        return {
            **self._comparable(self.reference_settings),
            **supply(task, settings.source, settings.max_repeats, self.contents.get(HR)),
            "train_rows": recorded_identities(run or Path(settings.run)).get(f"{task.name}/train") or task.identity(),
            "val_rows": task.val_manifest.identity(),
        }

    def _trace(self, task: Task, folder: Path) -> Trace | None:
        """The trace of a task's reference; what an older version did not note of its samples its run folder tells."""
        trace, begun = load_trace(folder), begun_settings(folder)
        if trace and begun:
            noted = supply(task, begun["source"], begun["max_repeats"], recorded_identities(folder).get(HR))
            trace.protocol = {**noted, **trace.protocol}
        return trace

    def jobs(self) -> list[RunSpec]:
        """What to train, in this order; `ready` completes a network when its turn comes.

        Raises `UsageError` when the run was begun with other settings.
        """
        settings = self.settings
        if settings.mode == "shared":
            folder = Path(settings.run)
            require_resumable(folder, settings)  # before any reference is trained for it
            require_same_contents(folder, self.contents)
            pilot = [*map(self._pilot, self.tasks)] if self.lacks_mixture else []
            missing = map(self._reference, self._missing_references())
            shared = RunSpec(folder, SHARED, settings, self.tasks, self.spec, self.initial, self.policy)
            jobs = [*pilot, *missing, replace(shared, pool=self.pool, contents=self.contents)]
        elif settings.mode == "groups":
            jobs = []
        elif settings.mode == "pilot":
            jobs = [*map(self._pilot, self.tasks)]
        else:
            chosen = [task for task in self.tasks if settings.mode == "references" or task.name == settings.task]
            if not chosen:
                known = ", ".join(task.name for task in self.tasks)
                raise UsageError(f"task {settings.task!r} is not in {settings.shards}: choose {known}")
            jobs = [*map(self._reference, chosen)]
        for job in jobs:
            if self.init_is_gone and not latest_checkpoint(job.folder):
                raise UsageError(f"no weights file {settings.init}, which {job.title} begins from: restore it")
        return jobs

    def _reference(self, task: Task) -> RunSpec:
        return self._single(task, f"reference {task.name}", self.references_folder, self.settings.iterations)

    def _pilot(self, task: Task) -> RunSpec:
        return self._single(task, f"pilot {task.name}", self.pilot_folder, self.settings.pilot_iterations)

    def _missing_references(self) -> list[Task]:
        """The tasks whose reference is in use and not trained to the end; those that are must fit."""
        if self.pack or not self.uses_references:
            return []
        missing = []
        for task in self.tasks:
            trace = self._trace(task, self.references_folder / task.name)
            if trace:
                require_same_protocol(trace, self.protocol(task), self.references_folder / task.name, ABSENT)
            if trace is None or str(self.settings.iterations) not in trace.psnr_db:
                missing.append(task)
        return missing

    @cached_property
    def _reference_contents(self) -> dict[str, str]:
        """Digests of the files that references begin from."""
        if self.reference_settings.stage == self.settings.stage:
            return self.contents
        shared = {name: self.contents[name] for name in (HR, INIT) if name in self.contents}
        return shared | make_stage(self.reference_settings).contents()

    def _single(self, task: Task, title: str, folder: Path, iterations: int) -> RunSpec:
        """A network trained on one task alone, and evaluated on all."""
        settings = replace(
            self.reference_settings,
            mode="single",
            task=task.name,
            iterations=iterations,
            groups=None,
            **{name: getattr(NO_MIXTURE, name) for name in affecting(TrainSettings, "mixture")},
        )
        folder = folder / task.name
        protocol = self.protocol(task, folder)
        trace = self._trace(task, folder) or Trace(task.name, protocol)
        require_same_protocol(trace, protocol, folder, ABSENT)
        return RunSpec(
            folder,
            title,
            settings,
            [task],
            self.spec,
            self.initial,
            make_policy("uniform"),
            trace=trace,
            others=[other for other in self.tasks if other is not task],
            pool=self.pool,
            contents=self._reference_contents,
        )

    def pilot_traces(self) -> list[Trace]:
        """The traces of the pilot, in the order of tasks."""
        return self._traces_in(self.pilot_folder)

    def choose_mixture(self) -> list[str]:
        """Choose the mixture of the policy planned from the pilot, and write its file; returns what is predicted."""
        policy = self.policy
        assert isinstance(policy, Planned)
        references = References(self.pilot_traces())
        plan = make_plan(references, self.settings.pilot_iterations, policy.floor, policy.max_loss_db)
        choice = next(choice for choice in plan.choices if choice.aim == policy.aim)
        save_choice(self.mixture_file, plan, choice, str(self.pilot_folder))
        return describe(plan)

    def ready(self, job: RunSpec) -> RunSpec:
        """A network that is to be trained now: the shared one with its references, groups and mixture, found before."""
        if job.title != SHARED:
            return job
        if isinstance(self.policy, Planned):
            self.policy.weights = load_mixture(self.mixture_file).weights
        references = References(self.traces()) if self.uses_references else None
        return replace(job, references=references, grouping=self.grouping)


def supply(task: Task, source: str, max_repeats: float | None, hr: str | None) -> dict[str, Any]:
    """What a protocol says of samples that are made on the fly though the task has shards; empty where they are stored.

    hr: identity of the HR images that they are cut from, if not those of the shards.
    """
    if not task.num_rows or source == "shards" or (source == "auto" and max_repeats is None):
        return {} if task.num_rows or hr is None else {"hr": hr}
    limit = {"source": "auto", "max_repeats": max_repeats} if source == "auto" else {"source": "fly"}
    return limit | ({"hr": hr} if hr else {})
