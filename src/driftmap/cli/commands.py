"""Which commands are there, and which of them do the words mean?"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

import driftmap
from driftmap.cli.environment import fill_in, without_defaults
from driftmap.core.errors import UsageError
from driftmap.recipes.ablate import Ablate
from driftmap.recipes.attention import Attention
from driftmap.recipes.attention_tuned import AttentionTuned
from driftmap.recipes.check_judge import CheckJudge
from driftmap.recipes.clean import Clean
from driftmap.recipes.compare import Compare
from driftmap.recipes.data_both import DataBoth
from driftmap.recipes.data_generate import DataGenerate
from driftmap.recipes.data_list import DataList
from driftmap.recipes.data_paraphrase import DataParaphrase
from driftmap.recipes.demo import Demo
from driftmap.recipes.drift import Drift
from driftmap.recipes.drift_logs import DriftLogs
from driftmap.recipes.edit import Edit
from driftmap.recipes.evaluate import Evaluate
from driftmap.recipes.experts import Experts
from driftmap.recipes.freeze import Freeze
from driftmap.recipes.index_append import IndexAppend
from driftmap.recipes.index_build import IndexBuild
from driftmap.recipes.index_check import IndexCheck
from driftmap.recipes.index_merge import IndexMerge
from driftmap.recipes.index_search import IndexSearch
from driftmap.recipes.merge import Merge
from driftmap.recipes.read import Read
from driftmap.recipes.read_honesty import ReadHonesty
from driftmap.recipes.report import Report
from driftmap.recipes.score import Score
from driftmap.recipes.similarity import Similarity
from driftmap.recipes.similarity_json import SimilarityJson
from driftmap.recipes.slices_apply import SlicesApply
from driftmap.recipes.slices_diff import SlicesDiff
from driftmap.recipes.slices_merge import SlicesMerge
from driftmap.recipes.slices_revert import SlicesRevert
from driftmap.recipes.studies_list import StudiesList
from driftmap.recipes.study import Study
from driftmap.recipes.trace import Trace
from driftmap.recipes.trace_compare import TraceCompare
from driftmap.recipes.view import View

DEFAULTS_NOTE = (
    "`DRIFTMAP_MODEL`, `DRIFTMAP_DEVICE` and `DRIFTMAP_NUM_SAMPLES`, in the "
    "environment or in a `.env` file in the working folder, are the defaults of "
    "`--model`, `--device` and `--num-samples`."
)
EPILOGUE = (
    "`driftmap COMMAND --help` explains every option. "
    "`--debug` after any command shows where an error came from. "
    "A command that was interrupted goes on when it is repeated. " + DEFAULTS_NOTE
)
DRIFT_EPILOGUE = (
    "`driftmap drift --drift-logs FOLDER --out RUN` draws and compares drift logs that "
    "were made elsewhere; it takes no other option. " + DEFAULTS_NOTE
)

app = App(
    name="driftmap",
    help="Map where behaviours live inside a language model and how tuning moves them.",
    help_epilogue=EPILOGUE,
    version=driftmap.__version__,
    help_format="markdown",
    config=(fill_in,),
    result_action="return_value",
    exit_on_error=False,
    print_error=False,
    suppress_keyboard_interrupt=False,
    default_parameter=Parameter(negative_iterable=()),
)
app.command(Demo, name="demo", sort_key=1)
app.command(Drift, name="drift", sort_key=2, help_epilogue=DRIFT_EPILOGUE)
app.command(
    DriftLogs,
    name="drift-logs",
    sort_key=2,
    usage="Usage: driftmap drift --drift-logs PATH [--out PATH]",
    show=False,  # a person says `drift --drift-logs`, a run.yaml says this
    help_epilogue="",
)
app.command(Score, name="score", sort_key=3)
app.command(Similarity, name="similarity", sort_key=3)
app.command(
    SimilarityJson,
    name="similarity-json",
    sort_key=3,
    usage="Usage: driftmap similarity --from-json PATH [OPTIONS]",
    show=False,  # a person says `similarity --from-json`, a run.yaml says this
    help_epilogue="",
)
app.command(Experts, name="experts", sort_key=3)
app.command(Read, name="read", sort_key=3)
app.command(
    ReadHonesty,
    name="read-honesty",
    sort_key=3,
    usage="Usage: driftmap read --honesty --model NAME --statements PATH [OPTIONS]",
    show=False,  # a person says `read --honesty`, a run.yaml says this
    help_epilogue="",
)
app.command(Trace, name="trace", sort_key=3)
app.command(
    TraceCompare,
    name="trace-compare",
    sort_key=3,
    usage="Usage: driftmap trace --compare [OPTIONS]",
    show=False,  # a person says `trace --compare`, a run.yaml says this
    help_epilogue="",
)
app.command(Attention, name="attention", sort_key=3)
app.command(
    AttentionTuned,
    name="attention-tuned",
    sort_key=3,
    usage="Usage: driftmap attention --tuned NAME --model NAME [OPTIONS]",
    show=False,  # a person says `attention --tuned`, a run.yaml says this
    help_epilogue="",
)
app.command(Compare, name="compare", sort_key=3)
app.command(Edit, name="edit", sort_key=3)
app.command(Evaluate, name="evaluate", sort_key=4)
app.command(
    CheckJudge,
    name="check-judge",
    sort_key=4,
    usage="Usage: driftmap evaluate --check-judge --labelled PATH [OPTIONS]",
    show=False,  # a person says `evaluate --check-judge`, a run.yaml says this
    help_epilogue="",
)
app.command(Ablate, name="ablate", sort_key=4)
app.command(Freeze, name="freeze", sort_key=4)
app.command(Report, name="report", sort_key=4)
app.command(View, name="view", sort_key=4)
app.command(Clean, name="clean", sort_key=5)
data = App(
    name="data",
    help="List the data sets that have a name here, and make versions of samples.",
    help_epilogue="",
    sort_key=6,
)
data.command(DataList, name="list", sort_key=1)
data.command(DataParaphrase, name="paraphrase", sort_key=2)
data.command(DataGenerate, name="generate", sort_key=3)
data.command(DataBoth, name="both", sort_key=4)
app.command(data)
index = App(
    name="index",
    help="Keep the gradients of many samples in short, and search them.",
    help_epilogue="",
    sort_key=4,
)
index.command(IndexBuild, name="build", sort_key=1)
index.command(IndexAppend, name="append", sort_key=2)
index.command(IndexSearch, name="search", sort_key=3)
index.command(IndexCheck, name="check", sort_key=4)
index.command(IndexMerge, name="merge", sort_key=5)
app.command(index)
slices = App(
    name="slices",
    help="Put tuned experts into a model and take them out, and compare them.",
    help_epilogue="",
    sort_key=5,
)
slices.command(SlicesApply, name="apply", sort_key=1)
slices.command(SlicesRevert, name="revert", sort_key=2)
slices.command(SlicesDiff, name="diff", sort_key=3)
slices.command(SlicesMerge, name="merge", sort_key=4)
app.command(slices)


app.command(StudiesList, name="studies", sort_key=7)
app.command(
    Study,
    name="study",
    sort_key=7,
    usage="Usage: driftmap run STUDY [OPTIONS]",
    show=False,  # a person says `run`, which finds out what the file holds
    help_epilogue="",
)


@app.command(sort_key=7)
def run(
    file: Path, /, *options: Annotated[str, Parameter(allow_leading_hyphen=True)]
) -> object:
    """Run a saved recipe, a study of several, or a run once more.

    Args:
        file: YAML file with `kind: drift` (or another command) and the options of
            that command, as in `tune_on: alpaca.json`; a study file, or the name of one
            that `driftmap studies` lists; or a run folder.
        options: Options that replace those of the file, as in `--seeds 5`; of a study
            `--only RUN`, `--seed` and `--out`.
    """
    from driftmap.recipes.saved import words_of
    from driftmap.recipes.steps.study.files import find_study

    if find_study(file) is not None:
        with without_defaults():  # a study says itself what it is about
            return app(["study", str(file), *options])
    words = meant(words_of(file, options))
    if not (file.is_dir() or file.name == "run.yaml"):
        return app(words)
    with without_defaults():  # the run has resolved them
        return app(words)


@app.command(sort_key=6)
def merge(*parts: Path, out: Path) -> object:
    """Join the parts of one run that were made with `--partition`, and finish it.

    Parts must be of equal settings, hold no sample twice and leave none out; what is
    missing is named. Nothing that the parts hold is computed again.

    Args:
        parts: Run folders of all parts, or parts of an index, in any order.
        out: Run folder of the whole (path).
    """
    from driftmap.recipes.saved import words_of

    if parts and (parts[0] / "index.json").is_file():
        return IndexMerge(parts, out=out)
    whole = Merge(parts=parts, out=out).run()
    with without_defaults():  # the parts have resolved them
        return app(meant(words_of(whole)))


_STUDIES_OF_THEIR_OWN = {
    "evaluate": ("--check-judge", "check-judge"),
    "read": ("--honesty", "read-honesty"),
    "trace": ("--compare", "trace-compare"),
}
"""Commands, the option that asks for another study, and what that is called."""


def meant(words: Sequence[str]) -> list[str]:
    """Find the command behind the words, where an option makes another one of it.

    Drift logs are a study of their own, and so are a check of judges, a comparison of
    traces, two models' attention, and products of gradients that were computed
    elsewhere. `experts` takes the
    names of published runs.

    Raises:
        UsageError: Options of the study of a model stand beside `--drift-logs`.

    >>> meant(["drift", "--drift-logs", "logs", "--out=here"])
    ['drift-logs', '--drift-logs', 'logs', '--out=here']
    >>> meant(["evaluate", "--check-judge", "--labelled=x.csv"])
    ['check-judge', '--labelled=x.csv']
    >>> meant(["read", "--honesty", "--statements=x.csv"])
    ['read-honesty', '--statements=x.csv']
    >>> meant(["trace", "--compare", "--facts=x.json"])
    ['trace-compare', '--facts=x.json']
    >>> meant(["similarity", "--from-json=results", "--seed", "1"])
    ['similarity-json', '--from-json=results', '--seed', '1']
    >>> meant(["attention", "--tuned", "adapter", "--text=a"])
    ['attention-tuned', '--tuned', 'adapter', '--text=a']
    >>> meant(["experts", "--model_name", "m", "--output_dir=o"])
    ['experts', '--model', 'm', '--output_dir=o']
    >>> meant(["drift", "--model=m"])
    ['drift', '--model=m']
    """
    flags = [word.partition("=")[0] for word in words if re.match("--?[a-z]", word)]
    command, rest = "".join(words[:1]), list(words[1:])
    if command == "experts":
        return [re.sub("^--model[-_]name(?==|$)", "--model", word) for word in words]
    asked = _STUDIES_OF_THEIR_OWN.get(command)
    if asked and asked[0] in rest:
        flag, study = asked
        return [study, *(word for word in rest if word != flag)]
    if command == "similarity" and "--from-json" in flags:
        return ["similarity-json", *rest]
    if command == "attention" and "--tuned" in flags:
        return ["attention-tuned", *rest]
    if command != "drift" or "--drift-logs" not in flags:
        return list(words)
    known = {"--drift-logs", "--out", "--help", "-h"}
    others = sorted({flag for flag in flags if flag not in known})
    if others:
        raise UsageError(
            f"--drift-logs starts from measurements that were made already, and "
            f"{', '.join(others)} can change nothing in them; give only --out beside "
            "it, or leave --drift-logs out"
        )
    return ["drift-logs", *rest]
