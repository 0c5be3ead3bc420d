"""`dkconf init`: a repository whose own pipelines and hooks pass on the first run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from ruamel.yaml import YAML

from dkconf.errors import DkconfError
from dkconf.inventory import load as load_inventory
from dkconf.inventory import schema
from dkconf.repo import checks, layout, rendered
from dkconf.repo.scaffold import Answers, NotEmpty, init
from tests.patience import LAST_RESORT_SECONDS
from tests.repo.conftest import ConfigRepository

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def door(tmp_path_factory) -> Path:
    """A folder with a `dkconf` to put on the PATH."""
    folder = tmp_path_factory.mktemp("bin")
    script = folder / "dkconf"
    script.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\nfrom dkconf.cli.main import main\nmain()\n"
    )
    script.chmod(0o755)
    return folder


@pytest.fixture
def made(tmp_path) -> ConfigRepository:
    """What init makes, committed, with an origin of its own: as a runner sees it."""
    init(tmp_path / "origin", Answers(domain="example.org", host="mx1.example.org"))
    origin = ConfigRepository(tmp_path / "origin")
    origin.git("init", "--quiet", "--initial-branch=main")
    origin.commit()
    origin.git("clone", "--quiet", str(origin.top), str(tmp_path / "work"))
    return ConfigRepository(tmp_path / "work")


def shell(script: str, cwd: Path, door: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a step as a runner does: bash, ending at the first failure, in a bare environment."""
    environment = {
        "PATH": f"{door}:/usr/bin:/bin",
        "HOME": str(cwd.parent),
        "CI": "true",
        "LANG": "C.UTF-8",
        **variables,
    }
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=3 * LAST_RESORT_SECONDS,
    )  # fmt: skip


def test_what_init_makes_passes_its_own_checks(made):
    """No findings, canonical layout, and a rendering that is what the inventory gives."""
    report = checks.check(made.inventory)
    octets = made.inventory.read_bytes()

    assert () == report.findings
    assert octets.decode() == layout.formatted(octets, "i")
    assert {"inventory.yaml", ".gitignore", "README.md", "keys", "rendered", ".gitlab-ci.yml"} <= set(
        os.listdir(made.top)
    )
    assert (made.top / "rendered/mx1.example.org/etc/mail/m4/dkconf.m4").exists()


@pytest.mark.parametrize(
    "answers",
    [
        Answers(platform="rhel"),
        Answers(platform="freebsd", service_manager="rcd"),
        Answers(program="dk-filter"),
        Answers(service_manager="direct"),
        Answers(service_manager="direct", program="dk-filter"),
        Answers(domain="xn--bcher-kva.example", host="mx", selector="2026"),
    ],
)
def test_every_answer_gives_a_repository_without_findings(tmp_path, answers):
    """Other platforms and programs pass as well."""
    init(tmp_path / "r", answers)
    octets = (tmp_path / "r/inventory.yaml").read_bytes()

    assert [] == [str(f) for f in load_inventory(tmp_path / "r/inventory.yaml").findings]
    assert octets.decode() == layout.formatted(octets, "i")


@pytest.mark.parametrize(
    "answers",
    [
        Answers(domain="example.com: {}"),
        Answers(domain="a\nb.example"),
        Answers(host="mx1}"),
        Answers(selector="$(id)"),
        Answers(requirement='x"; curl evil'),
        Answers(requirement="x\ny"),
    ],
)
def test_an_answer_that_is_no_name_is_refused_before_anything_is_written(tmp_path, answers):
    """Nothing of an answer reaches a file unjudged."""
    with pytest.raises(DkconfError):
        init(tmp_path / "r", answers)

    assert not (tmp_path / "r").exists()


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    """init never writes over a file; a fresh `git init` is fine."""
    (tmp_path / "r/.git").mkdir(parents=True)
    (tmp_path / "r/notes").write_text("mine")
    with pytest.raises(NotEmpty, match="notes"):
        init(tmp_path / "r", Answers())

    assert ["notes"] == [p.name for p in (tmp_path / "r").iterdir() if p.name != ".git"]


def steps_of_github(top: Path) -> list[dict]:
    workflow = YAML(typ="safe", pure=True).load((top / ".github/workflows/dkconf.yml").read_text())
    return workflow["jobs"]["check"]["steps"]


@pytest.mark.parametrize("event", ["push", "pull_request"])
def test_github_workflow_runs_step_by_step(made, door, tmp_path, event):
    """Each step that `event` runs, as the runner would run it; the first push and the first pull request pass."""
    summary = tmp_path / "summary.md"
    variables = {
        "GITHUB_ACTIONS": "true",
        "RUNNER_TEMP": str(tmp_path),
        "GITHUB_STEP_SUMMARY": str(summary),
        "BASE": "main",
    }
    if event == "pull_request":
        made.git("switch", "--quiet", "-c", "change")
        made.change("    service: relay", "    milter: {log_level: 14}\n    service: relay")
        done = shell("dkconf render --output rendered", made.top, door)
        assert done.returncode == 0, done.stderr
        made.commit()
    ran = 0
    for step in steps_of_github(made.top):
        condition = step.get("if", "")
        if "run" not in step or step["name"] == "Install dkconf":
            continue
        if condition and ("==" in condition) != (event == "pull_request"):
            continue
        done = shell(step["run"], made.top, door, **variables)
        assert 0 == done.returncode, f"{step['name']}: {done.stdout}{done.stderr}"
        ran += 1

    assert {"push": 3, "pull_request": 4}[event] == ran
    if event == "pull_request":
        assert "| mx1.example.org | &#47;etc&#47;mail&#47;m4&#47;dkconf.m4 | changed |" in summary.read_text()


def test_gitlab_pipeline_runs_step_by_step(made, door):
    """Both jobs' scripts in order, with the variables that GitLab sets."""
    pipeline = YAML(typ="safe", pure=True).load((made.top / ".gitlab-ci.yml").read_text())
    variables = {"GITLAB_CI": "true", "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main"}
    for job in ("check", "changes"):
        for line in [*pipeline["default"]["before_script"], *pipeline[job]["script"]]:
            done = shell(line, made.top, door, **variables)
            assert 0 == done.returncode, f"{line}: {done.stdout}{done.stderr}"

    assert [] == json.loads((made.top / "dkconf.gitlab.json").read_text())
    assert "Nothing changes on any host" in (made.top / "plan.md").read_text()
    assert "" == made.git("status", "--porcelain", "--", "dkconf.gitlab.json", "plan.md")


def test_a_fault_fails_the_pipeline_and_is_annotated(made, door):
    """An unknown filter: status 65, and a command that GitHub shows at the line."""
    made.change("filters: [dkconf-filter]", "filters: [dkconf-filtr]")
    done = shell("dkconf check", made.top, door, GITHUB_ACTIONS="true")
    line = made.inventory.read_text().split("\n").index("    filters: [dkconf-filtr]") + 1

    assert 65 == done.returncode
    assert f"::error file=inventory.yaml,line={line},col=15,title=REF001 " in done.stdout


def test_a_rendering_that_was_forgotten_fails_the_pipeline(made, door):
    """The inventory changed, rendered/ did not: status 2 and the diff."""
    made.change("    service: relay", "    milter: {log_level: 14}\n    service: relay")
    done = shell("dkconf render --check rendered", made.top, door)

    assert 2 == done.returncode
    assert "+define(`confMILTER_LOG_LEVEL', `14')dnl" in done.stdout


def test_pipelines_hold_to_their_published_schemas(made):
    """GitHub's and GitLab's own schemas, as check-jsonschema ships them."""
    builtin = pytest.importorskip("check_jsonschema.builtin_schemas")
    yaml = YAML(typ="safe", pure=True)
    yaml.version = (1, 2)
    for file, name in ((".github/workflows/dkconf.yml", "github-workflows"), (".gitlab-ci.yml", "gitlab-ci")):
        schema = builtin.get_builtin_schema(f"vendor.{name}")
        data = json.loads(json.dumps(yaml.load((made.top / file).read_text())))
        validator = jsonschema.validators.validator_for(schema)(schema)
        assert [] == [e.message for e in validator.iter_errors(data)]


def test_schema_beside_the_inventory_is_ours(made):
    """What the first line of the inventory names is there, and accepts it."""
    written = json.loads((made.top / "inventory.schema.json").read_text())
    first = made.inventory.read_text().split("\n")[0]

    assert "# yaml-language-server: $schema=inventory.schema.json" == first
    assert json.loads(json.dumps(schema())) == written
    jsonschema.validate(YAML(typ="safe", pure=True).load(made.inventory.read_text()), written)


def test_nothing_private_can_be_added(made):
    """A private key beside its public half is not taken by `git add .`."""
    key = made.top / "keys/example.org/s1.private"
    key.parent.mkdir()
    key.write_text("x")
    made.git("add", "--all")

    assert "" == made.git("ls-files", "keys/example.org")


def _pre_commit(made: ConfigRepository, door: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("pre-commit", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if program is None:
        pytest.skip("pre-commit is not installed")
    return shell(f"{program} {' '.join(arguments)}", made.top, door, PRE_COMMIT_HOME=str(made.top.parent / "pc"))


def test_pre_commit_passes_what_init_made(made, door):
    """The hooks of the generated configuration, run by pre-commit itself."""
    done = _pre_commit(made, door, "run", "--all-files", "--color=never")

    assert 0 == done.returncode, done.stdout + done.stderr
    assert 4 == done.stdout.count("Passed")


@pytest.mark.parametrize("hook", ["dkconf-check", "dkconf-fmt", "dkconf-render", "no-private-keys"])
def test_pre_commit_stops_what_is_wrong(made, door, hook):
    """Each hook stops its own mistake."""
    if hook == "no-private-keys":
        (made.top / "id.pem").write_text("-----BEGIN RSA PRIVATE KEY-----\n")
        made.git("add", "--force", "id.pem")
    else:
        new = {
            "dkconf-check": "    service: relay\n    nonsense: 1",
            "dkconf-fmt": "    service:   relay",
            "dkconf-render": "    milter: {log_level: 14}",
        }[hook]
        made.change("    service: relay", new)
        made.git("add", "--all")
    done = _pre_commit(made, door, "run", hook, "--color=never")

    assert 1 == done.returncode, done.stdout + done.stderr
    assert "Failed" in done.stdout


def test_hooks_that_dkconf_ships_name_commands_that_it_has():
    """.pre-commit-hooks.yaml: check, format, no private keys."""
    hooks = YAML(typ="safe", pure=True).load((ROOT / ".pre-commit-hooks.yaml").read_text())

    assert ["dkconf-check", "dkconf-fmt", "dkconf-no-private-keys"] == [h["id"] for h in hooks]
    assert all({"id", "name", "entry", "language"} <= set(h) for h in hooks)


def test_rendering_again_changes_nothing(made):
    """No version and no date inside: byte for byte the same."""
    from dkconf.desired import render_tree

    tree = render_tree(load_inventory(made.inventory).inventory, {})

    assert [] == rendered.differences(tree, made.top / "rendered")
