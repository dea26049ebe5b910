"""Does the image install driftmap as the README does, and keep no secret?"""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
INSTRUCTIONS = [
    line
    for line in DOCKERFILE.replace("\\\n", " ").splitlines()
    if line and not line.startswith("#")
]
INSTALL = re.compile(r"(?:python3 -m venv \.venv && )?\.venv/bin/pip install [^;&`\n]*")


def _lines(text):
    return [" ".join(line.split()) for line in INSTALL.findall(text)]


def test_install_lines_are_those_of_the_readme():
    of_image = _lines(DOCKERFILE)
    of_readme = _lines((ROOT / "README.md").read_text())
    whole = [line for line in of_image if line.startswith("python3")]
    assert whole == [
        "python3 -m venv .venv && .venv/bin/pip install -c constraints/cpu.txt -e .",
        "python3 -m venv .venv && .venv/bin/pip install -e .",
    ]
    assert set(whole) <= set(of_readme)
    pages = [ROOT / "README.md", *ROOT.glob("docs/how-to/*.md")]
    documented = {line for page in pages for line in _lines(page.read_text())}
    assert set(of_image) <= documented


def test_nothing_runs_as_root():
    users = [line.split()[1] for line in INSTRUCTIONS if line.startswith("USER")]
    assert users == ["driftmap"]
    order = [line.split()[0] for line in INSTRUCTIONS]
    assert order.index("USER") < order.index("COPY")
    assert "sudo" not in DOCKERFILE


def test_the_image_knows_no_secret():
    names = [line for line in INSTRUCTIONS if line.startswith(("ARG", "ENV"))]
    assert not [line for line in names if re.search(r"(?i)token|key|secret|pass", line)]
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert {".env", ".env.*", ".git"} <= set(ignored)


def test_what_the_installation_reads_is_not_left_out():
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for needed in ("src", "pyproject.toml", "README.md", "LICENSE", "constraints"):
        assert (ROOT / needed).exists()
        assert needed not in ignored


def test_only_a_release_publishes_with_the_least_permissions():
    flow = yaml.safe_load((ROOT / ".github/workflows/image.yml").read_text())
    assert flow[True] == {"release": {"types": ["published"]}}  # YAML reads `on` so
    assert flow["permissions"] == {"contents": "read"}
    (job,) = flow["jobs"].values()
    assert job["permissions"] == {"contents": "read", "packages": "write"}
    used = [step["uses"] for step in job["steps"]]
    assert all(re.fullmatch(r"(actions|docker)/[a-z-]+@v\d+", name) for name in used)
    build = job["steps"][-1]["with"]
    assert build["build-args"] == "TORCH=${{ matrix.torch }}"
    choices = job["strategy"]["matrix"]["torch"]
    assert choices == re.findall(r'"\$TORCH" = (\w+) \]', DOCKERFILE)
    secrets = re.findall(
        r"secrets\.(\w+)", (ROOT / ".github/workflows/image.yml").read_text()
    )
    assert secrets == ["GITHUB_TOKEN"]
