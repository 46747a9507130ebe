"""The pages: links lead somewhere, the site builds, recipes keep to schemas, the API is told."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import write_api_page
import yaml

import dubcli

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.glob("*.md"), ROOT / "README.md"])
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_TEXT: dict[str, Any] = {"type": "string", "minLength": 1}
_WORDS = {"type": "array", "items": _TEXT, "minItems": 1}
_COUNT = {"type": "integer", "minimum": 0}


def _map(required: str, **properties: Any) -> dict[str, Any]:
    """A mapping that has no other keys than these."""
    return {
        "type": "object",
        "required": required.split(),
        "properties": properties,
        "additionalProperties": False,
    }


# Of https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/job-v1/
_CONTAINER = _map(
    "name image",
    name={"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"},
    image=_TEXT,
    workingDir=_TEXT,
    command=_WORDS,
    args=_WORDS,
    resources=_map("limits", limits={"type": "object"}),
    volumeMounts={"type": "array", "items": _map("name mountPath", name=_TEXT, mountPath=_TEXT)},
)
_VOLUME = _map("name", name=_TEXT, persistentVolumeClaim=_map("claimName", claimName=_TEXT))
_POD = _map(
    "containers restartPolicy",
    restartPolicy={"enum": ["Never", "OnFailure"]},
    containers={"type": "array", "items": _CONTAINER, "minItems": 1},
    volumes={"type": "array", "items": _VOLUME},
)
KUBERNETES = _map(
    "apiVersion kind metadata spec",
    apiVersion={"const": "batch/v1"},
    kind={"const": "Job"},
    metadata=_map("name", name=_TEXT),
    spec=_map(
        "template completions completionMode",
        completionMode={"const": "Indexed"},
        completions=_COUNT,
        parallelism=_COUNT,
        backoffLimitPerIndex=_COUNT,
        maxFailedIndexes=_COUNT,
        template=_map("spec", spec=_POD),
    ),
)
# Of ray/autoscaler/ray-schema.json
_NODE_TYPE = _map(
    "node_config",
    node_config={"type": "object"},
    resources={"type": "object", "additionalProperties": {"type": "number", "minimum": 0}},
    min_workers=_COUNT,
    max_workers=_COUNT,
)
RAY = _map(
    "cluster_name provider auth available_node_types head_node_type",
    cluster_name=_TEXT,
    max_workers=_COUNT,
    idle_timeout_minutes={"type": "number", "minimum": 0},
    provider=_map("type", type=_TEXT, region=_TEXT),
    auth=_map("ssh_user", ssh_user=_TEXT),
    available_node_types={"type": "object", "additionalProperties": _NODE_TYPE},
    head_node_type=_TEXT,
    file_mounts={"type": "object"},
    setup_commands=_WORDS,
    head_start_ray_commands=_WORDS,
    worker_start_ray_commands=_WORDS,
)


def _prose(path: Path) -> str:
    return _FENCE.sub("", path.read_text(encoding="utf-8"))


def _anchors(path: Path) -> set[str]:
    """Names of a page's headings as mkdocs and GitHub make them."""
    found: set[str] = set()
    for title in re.findall(r"^#+ (.+)$", _prose(path), re.MULTILINE):
        plain = re.sub(r"\]\([^)]*\)|[`*\[\]]", "", title).lower()
        found.add(re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", plain).strip()))
    return found


def broken_links(path: Path) -> list[str]:
    """Links of a page that lead to no file, or to no heading."""
    found: list[str] = []
    for link in _LINK.findall(_prose(path)):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            found.append(link)
    return found


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    assert broken_links(path) == []


def test_broken_links_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A b, `c`\n[x](#a-b-c) [y](#none) [z](none.md) [w](page.md#a-b-c) [v](https://x.y)\n"
        "```\n[code](nowhere.md)\n```\n"
    )
    assert broken_links(page) == ["#none", "none.md"]


def test_every_page_is_in_the_site_s_menu_and_in_the_index() -> None:
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").split("\nnav:")[1]
    names = {path.name for path in DOCS.glob("*.md")}
    assert set(re.findall(r"[\w-]+\.md", menu)) == names
    listed = set(re.findall(r"\((\w+\.md)\)", (DOCS / "index.md").read_text(encoding="utf-8")))
    assert listed == names - {"index.md"}


@pytest.mark.skipif(find_spec("mkdocs") is None, reason="mkdocs (extra docs) is not installed")
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(tmp_path / "site")]
    run = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    assert (tmp_path / "site" / "batch.html").is_file()


def test_the_api_page_is_what_the_docstrings_say() -> None:
    written = write_api_page.PAGE.read_text(encoding="utf-8")
    assert written == write_api_page.page(), f"run: {write_api_page.COMMAND_LINE}"


def test_every_public_name_is_on_the_api_page() -> None:
    text = write_api_page.PAGE.read_text(encoding="utf-8")
    missing = [name for name in dubcli.__all__ if not re.search(rf"^##+ {name}$", text, re.M)]
    assert missing == ["__version__"]


def _recipes() -> list[Any]:
    text = (DOCS / "clusters.md").read_text(encoding="utf-8")
    return [yaml.safe_load(one) for one in re.findall(r"^```yaml\n(.*?)^```", text, re.M | re.S)]


def test_recipes_of_clusters_keep_to_their_schemas() -> None:
    job, cluster = _recipes()
    jsonschema.validate(job, KUBERNETES)
    jsonschema.validate(cluster, RAY)
    spec = job["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    assert f"/{spec['completions']}" in container["args"][0]
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in spec["template"]["spec"]["volumes"]}
    assert cluster["head_node_type"] in cluster["available_node_types"]
    job["spec"]["completion"] = 3
    with pytest.raises(jsonschema.ValidationError, match="completion"):
        jsonschema.validate(job, KUBERNETES)


def test_every_recipe_says_whether_it_was_run() -> None:
    text = (DOCS / "clusters.md").read_text(encoding="utf-8")
    sections = re.split(r"^##+ ", text, flags=re.MULTILINE)[1:]
    assert len(sections) == 4
    assert all(re.search(r"^(Not run|Run:)", one, re.MULTILINE) for one in sections)
