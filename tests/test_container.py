"""The steps of the Dockerfile without docker: a fresh environment, an unprivileged user, a read-only root."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import SimpleITK as sitk

from nnunetv2_spinesegdiff.examples import FOLDER, example_scans

ROOT = Path(__file__).resolve().parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
STRANGER = 54321
"""A user without an account, as of `docker run --user`."""

CONTAINER = """
set -eu
mount --make-rprivate /
mount --rbind / {root}
mount -o remount,bind,ro {root}
mount -t tmpfs -o size=1m tmpfs {root}/dev/shm
mount -t tmpfs -o size=2g,mode=1777 tmpfs {root}/tmp
mkdir {root}/tmp/venv {root}/tmp/in {root}/tmp/out
mount --bind {venv} {root}/tmp/venv
mount -o remount,bind,ro {root}/tmp/venv
mount --bind {scans} {root}/tmp/in
mount -o remount,bind,ro {root}/tmp/in
mount --bind {out} {root}/tmp/out
mount -t tmpfs -o mode=755 tmpfs {root}{home}
for folder in {in_home}; do
    mkdir -p "{root}$folder"
    mount --rbind "$folder" "{root}$folder"
done
exec chroot {root} setpriv --reuid {user} --regid {user} --clear-groups --no-new-privs --inh-caps=-all \
    env -i -C /tmp {environment} {command}
"""


def copied() -> list[str]:
    """Files and folders that the image is built from."""
    lines = re.findall(r"(?m)^COPY (?!--from)(.+) \S+$", DOCKERFILE)
    return [name for line in lines for name in line.split()]


def test_everything_that_the_image_is_built_from_is_there_and_sent_to_docker():
    sent = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for name in copied():
        assert (ROOT / name).exists()
        assert f"!{name}" in sent
    assert DOCKERFILE.rindex("USER 65534") < DOCKERFILE.index("ENTRYPOINT")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the package; its dependencies are those of this one."""
    folder = tmp_path_factory.mktemp("image")
    source, venv = folder / "source", folder / "venv"
    source.mkdir()
    for name in copied():
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source / name)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    (site,) = venv.glob("lib/python*/site-packages")
    packages = [p for p in sys.path if p.endswith("site-packages") and not p.startswith(str(ROOT))]
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(site)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(source)], check=True)
    for file in (site / "dependencies.pth", venv / "packages.txt"):
        file.write_text("\n".join(packages), encoding="utf-8")
    return venv


@pytest.mark.slow
def test_segment_works_as_a_stranger_with_a_read_only_root_and_a_small_shared_memory(installed, tmp_path):
    if not all(map(shutil.which, ("unshare", "setpriv", "chroot"))):
        pytest.skip("unshare, setpriv or chroot is missing")
    if subprocess.run(["unshare", "--mount", "--net", "true"], capture_output=True, check=False).returncode:
        pytest.skip("namespaces cannot be made: no privileges")
    out, root = tmp_path / "out", tmp_path / "root"
    out.mkdir()
    out.chmod(0o777)
    root.mkdir()
    variables = re.search(r"(?m)^ENV PATH=\S+ (.+)$", DOCKERFILE)
    assert variables is not None
    home = Path.home().resolve()
    needed = [Path(sys.base_prefix), *map(Path, (installed / "packages.txt").read_text().splitlines())]
    in_home = [str(folder) for folder in needed if home in folder.resolve().parents]
    script = CONTAINER.format(
        root=shlex.quote(str(root)),
        venv=shlex.quote(str(installed)),
        scans=shlex.quote(str(FOLDER)),
        out=shlex.quote(str(out)),
        home=home,
        in_home=shlex.join(in_home),
        user=STRANGER,
        environment=f"PATH=/tmp/venv/bin:/usr/bin:/bin {variables[1]}",
        command="/tmp/venv/bin/python -m nnunetv2_spinesegdiff segment -i /tmp/in -o /tmp/out -device cpu",
    )
    done = subprocess.run(
        ["unshare", "--mount", "--net", "--ipc", "sh", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        timeout=1200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for scan in example_scans():
        mask = sitk.ReadImage(str(out / f"{scan.stem}_seg.nii.gz"))
        assert mask.GetSize() == sitk.ReadImage(str(scan)).GetSize()
        assert sitk.GetArrayViewFromImage(mask).max() == 3
    assert {path.stat().st_uid for path in out.iterdir()} == {STRANGER}
