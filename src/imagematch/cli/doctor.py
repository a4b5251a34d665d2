"""`doctor`: what this machine has, and what a configuration needs that is missing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imagematch.cli.options import Json, show
from imagematch.processor import processor_facts
from imagematch.reading import GB

if TYPE_CHECKING:
    from imagematch.config import TrainSettings

_INSTRUCTIONS = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "avx_vnni", "amx_bf16", "amx_int8")
_PACKAGES = ("tensorflow", "keras", "optuna", "openvino", "numpy", "pillow")
_EXTRAS = {
    "faces": ("cv2", "face_crop: haar and yunet; mtcnn needs the package mtcnn, too"),
    "serve": ("fastapi", "imagematch serve"),
    "tensorboard": ("tensorboard", "logs for TensorBoard in exp/logs"),
    "mlflow": ("mlflow", "callbacks: [mlflow]"),
    "wandb": ("wandb", "callbacks: [wandb]"),
    "notebooks": ("notebook", "the notebooks"),
    "heif": ("pillow_heif", "HEIC and HEIF photos"),
    "kerashub": ("keras_hub", "networks of KerasHub: feature_extractor kerashub:PRESET"),
    "onnx": ("onnx", "export to ONNX"),
    "litert": ("ai_edge_litert", "export to LiteRT, for phones"),
    "dashboard": ("optuna_dashboard", "imagematch study dashboard"),
    "parquet": ("pyarrow", "tables of images in Parquet"),
    "postgresql": ("psycopg", "studies that many machines share"),
}
_ENOUGH_DISK = 5 * GB


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        topic: what it is about.
        state: "ok", "missing" (it is needed), or "absent" (it is not, unless it is asked for).
        text: what was found, and what to do.
    """

    topic: str
    state: str
    text: str


def doctor(
    config: Annotated[
        Path | None, typer.Argument(metavar="[CONFIG]", help="A train or study file to check for.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Says what this machine has (processor, engines, extras, disk), and what is missing for a configuration.

    Example: imagematch doctor hpt_config.yaml
    """
    findings = [*machine_findings(), *extra_findings()]
    if config is not None:
        findings += config_findings(config)
    width = max(len(finding.topic) for finding in findings)
    lines = [f"{finding.state:8} {finding.topic:{width}}  {finding.text}" for finding in findings]
    show([asdict(finding) for finding in findings], lines, as_json)
    if any(finding.state == "missing" for finding in findings):
        raise typer.Exit(2)


def machine_findings() -> list[Finding]:
    """The versions, processor, memory, disk and accelerators of this machine."""
    import psutil

    system = f"{platform.system()} {platform.machine()}"
    supported = platform.system() in ("Linux", "Darwin")
    findings = [
        Finding(
            "python", "ok", f"{platform.python_version()} on {system}" + ("" if supported else ", which is untested")
        )
    ]
    for package in _PACKAGES:
        try:
            findings.append(Finding(package, "ok", importlib.metadata.version(package)))
        except importlib.metadata.PackageNotFoundError:
            findings.append(Finding(package, "missing", f"not installed: pip install {package}"))
    memory, free = psutil.virtual_memory(), shutil.disk_usage(Path.cwd()).free
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    available = processor_facts().get("flags", "").split()
    flags = [name for name in _INSTRUCTIONS if name in available]
    known = f", {' '.join(flags)}" if flags else ""
    findings.append(Finding("processor", "ok", f"{cores} cores{known}"))
    findings.append(Finding("memory", "ok", f"{memory.total / GB:.1f} GB, {memory.available / GB:.1f} GB free"))
    room = "ok" if free >= _ENOUGH_DISK else "missing"
    findings.append(Finding("disk", room, f"{free / GB:.1f} GB free here; features and matchers take some"))
    gpus = _graphics_cards()
    absent = "none found: networks run on the processor"
    return [*findings, Finding("graphics card", "ok" if gpus else "absent", "; ".join(gpus) or absent)]


def extra_findings() -> list[Finding]:
    """Which optional parts are installed."""
    return [
        Finding(f"extra {name}", "ok", purpose)
        if importlib.util.find_spec(module)
        else Finding(f"extra {name}", "absent", f"{purpose}: pip install 'imagematch[{name}]'")
        for name, (module, purpose) in _EXTRAS.items()
    ]


def config_findings(path: Path) -> list[Finding]:
    """What a configuration needs of this machine: its images, weights and extras.

    Raises:
        ConfigError: the file cannot be read, or holds mistakes.
    """
    from imagematch.config import load_study, load_train, read_yaml

    if "study_name" in read_yaml(path).values:
        study = load_study(path)
        choices = {field: dimension.ends for field, dimension in study.space.items()}
        settings = study.settings_for({field: ends[0] for field, ends in choices.items()})
    else:
        choices, settings = {}, load_train(path)
    findings = [_images(settings)]
    weights = [*_listed(settings.weights), *choices.get("weights", ())]
    for name in dict.fromkeys(str(one) for one in weights if str(one) not in ("imagenet", "random")):
        there = Path(name).is_file()
        findings.append(Finding("weights", "ok" if there else "missing", name if there else f"{name} is not there"))
    extractors = {str(one) for one in (*_listed(settings.feature_extractor), *choices.get("feature_extractor", ()))}
    if any(name.startswith("kerashub:") for name in extractors) and not importlib.util.find_spec("keras_hub"):
        findings.append(Finding("kerashub", "missing", "pip install 'imagematch[kerashub]'"))
    return findings


def _images(settings: TrainSettings) -> Finding:
    folder = settings.data_dir
    if folder is None:
        return Finding("images", "ok", f"{settings.dataset}, which needs no folder")
    if not folder.exists():
        return Finding("images", "missing", f"{folder} is not there: set data_dir (see: imagematch data list)")
    return Finding("images", "ok", f"{folder} is there (look into it: imagematch data check)")


def _listed(value: object) -> tuple[object, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _graphics_cards() -> list[str]:
    """The graphics cards of NVIDIA, as their driver names them."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    try:
        query = [program, "--query-gpu=name,memory.total", "--format=csv,noheader"]
        done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in done.stdout.splitlines() if line.strip()]
