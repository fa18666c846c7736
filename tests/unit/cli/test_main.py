"""Whatever is wrong: one line that begins with `error:`, exit code 2, and no traceback."""

import errno
import io
import os
import subprocess
import sys

import pytest
import typer

from medlora.cli import main
from medlora.errors import MedLoRAError
from run_samples import TINY, run_command, write_images


@pytest.fixture
def fails(monkeypatch, capsys, own_cache):
    """Run a command that has to fail, and give its one line."""

    def run(*arguments) -> str:
        assert run_command(monkeypatch, *arguments) == 2
        lines = [
            line
            for line in capsys.readouterr().err.splitlines()
            if " done" not in line and not line.startswith("warning: ")
        ]
        assert len(lines) == 1, lines
        assert lines[0].startswith("error: ")
        return lines[0]

    return run


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["train", "nowhere"], "There is nothing at"),
        (["train"], "Give either DATA to start a run, or --resume RUN"),
        (["train", "DATA", "--resume", "x"], "Give either DATA"),
        (["train", "--resume", "nowhere"], "holds no run to go on with"),
        (["train", "DATA", "--method", "magic"], "method must be one of lora, linear, full, fac"),
        (["train", "DATA", "--optimizer", "x"], "optimizer must be one of adamw, adam, sgd"),
        (["train", "DATA", "--select-by", "luck"], "select_by must be one of auroc"),
        (["train", "DATA", "--precision", "fp8"], "precision must be one of auto, bf16, fp32"),
        (["train", "DATA", "--contrast", "x"], "contrast must be one of none"),
        (["train", "DATA", "--save-dtype", "int8"], "save_dtype must be one of float32, float16"),
        (["train", "DATA", "--accelerator", "tpu"], "--accelerator must be auto, cpu, cuda"),
        (["train", "DATA", "--epochs", "0"], "epochs must be in [1, 100000], not 0"),
        (["train", "DATA", "--epochs", "many"], "Invalid value for '--epochs'"),
        (["train", "DATA", "--devices", "0"], "Invalid value for '--devices'"),
        (["train", "DATA", "--rotation", "500"], "rotation_degrees"),
        (["train", "DATA", "--colour", "red"], "No such option"),
        (["train", "DATA", "--targets", "nothing.*"], "nothing.*"),
        (["train", "DATA", "--backbone", "vit_colossal"], "no usable model 'vit_colossal'"),
        (["train", "DATA", "--weights", "missing.pth"], "missing.pth"),
        (["train", "DATA", "--group-by", "case"], "cannot be grouped by 'case'"),
        (["train", "DATA", "--output", "FULL"], "is not empty"),
        (["train", "DATA", "--output", "FULL/note.txt"], "is a file"),
        (["evaluate", "FULL/note.txt", "DATA"], "note.txt"),
        (["evaluate", "missing.safetensors", "DATA"], "missing.safetensors cannot be read"),
        (["evaluate"], "Missing argument"),
        (["predict", "missing.safetensors", "x.png"], "missing.safetensors cannot be read"),
        (["show", "FULL/note.txt"], "note.txt"),
        (["check", "nowhere"], "There is nothing at"),
        (["phantoms", "FULL"], "empty folder only"),
        (["phantoms", "new", "--layout", "x"], "--layout must be folders or split, not 'x'"),
        (["phantoms", "new", "--seed", "-1"], "A seed is 0 or more"),
        (["demo", "--output", "FULL"], "is a file or not empty"),
        (["predict", "t", "x.png", "--json", "FULL"], "FULL is a folder. Name a file to write"),
        (["predict", "t", "x.png", "--csv", "."], ". is a folder. Name a file to write"),
        (["predict", "t", "x.png", "--csv", "FULL/note.txt/a"], "note.txt is a file. Choose anot"),
        (["predict", "t", "x.png", "--csv", "a" * 300], "could not be written (File name too long"),
        (["predict", "t", "x", "--csv", "a", "--json", "./a"], "--json and --csv both name a"),
        (["predict", "--tasks", "t", "x", "--task-memory", "inf"], "--task-memory must be a numb"),
        (["train", "DATA", "--cache-size", "inf"], "--cache-size must be a number of 0 or more"),
        (["train", "DATA", "--cache-size", "nan"], "Invalid value for '--cache-size'"),
        (["dance"], "No such command 'dance'"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_bad_input_gives_one_line(fails, images, tmp_path, monkeypatch, arguments, match) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FULL").mkdir()
    (tmp_path / "FULL" / "note.txt").write_text("something")
    given = [str(images) if word == "DATA" else word for word in arguments]
    own = {"--backbone", "--accelerator", "--resume"}
    if given[0] == "train" and own.isdisjoint(given):
        tiny = [*TINY] if "--weights" not in given else ["--backbone", "test_vit"]
        given += tiny if "--precision" not in given else tiny[:4]
    line = fails(*given)
    assert match in line
    assert "runs" not in os.listdir(tmp_path)


USEFUL = {
    "train": {"--accelerator", "--devices", "--cache-dir", "--cache-size"},
    "tune": {"--accelerator", "--trials", "--cache-dir", "--cache-size"},
}


def list_options(command):
    """Every way to spell an option of a command, with something to give it."""
    for option in typer.main.get_command(main.app).commands[command].params:
        if option.param_type_name == "option" and option.name not in ("resume", "space", "help"):
            value = [] if option.is_flag else ["1"]
            for spelt in (*option.opts, *option.secondary_opts):
                shown = spelt if spelt in option.secondary_opts else option.opts[0]
                yield shown, [spelt, *value]


@pytest.mark.parametrize("command", ["train", "tune"])
def test_options_without_effect_beside_resume_are_refused(fails, command) -> None:
    n_useful = 0
    for shown, typed in list_options(command):
        line = fails(command, "--resume", "nowhere", *typed)
        if shown in USEFUL[command]:
            n_useful += 1
            assert "holds no" in line or "must be auto" in line, line
        else:
            assert f"so that {shown} has no effect beside it. Leave it out" in line
    assert n_useful == len(USEFUL[command])
    line = fails(command, "--resume", "nowhere", "--note", "x", "--name", "y")
    assert "so that --name, --note have no effect beside it. Leave them out" in line


def test_one_class_is_not_enough(fails, tmp_path) -> None:
    data = write_images(tmp_path / "data", 3, classes=("only",))
    assert "images of one class only, 'only'" in fails("train", data, *TINY, "-o", tmp_path / "r")


def test_an_empty_folder_is_no_data(fails, tmp_path) -> None:
    (tmp_path / "data").mkdir()
    assert str(tmp_path / "data") in fails("train", tmp_path / "data", *TINY)


def test_every_unreadable_image_is_listed(monkeypatch, capsys, tmp_path, own_cache) -> None:
    data = write_images(tmp_path / "data", 5)
    for name in ("dark/001.png", "light/004.png"):
        (data / name).write_bytes(b"no image")
    for command in (["train", data, *TINY, "-o", tmp_path / "run"], ["check", data]):
        assert run_command(monkeypatch, *command) == 2
        error = capsys.readouterr().err
        lines = error[error.index("error: ") :].splitlines()
        assert lines[0].startswith("error: 2 image(s) cannot be read.")
        assert "--skip-unreadable" in lines[0]
        assert "001.png: " in lines[1]
        assert "004.png: " in lines[2]
        assert len(lines) == 3
    assert not (tmp_path / "run").exists()


def test_another_backbone_is_refused(fails, trained, images, tmp_path) -> None:
    import timm
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(99)
    other = tmp_path / "other.safetensors"
    save_file(timm.create_model("test_vit", num_classes=0).state_dict(), other)
    line = fails("evaluate", trained / "task.safetensors", images, "--weights", other)
    assert "Task 'tiny' was trained on backbone test_vit@" in line


def test_a_truncated_task_file_is_refused(fails, trained, images, tmp_path) -> None:
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes((trained / "task.safetensors").read_bytes()[:-5])
    for command in (["evaluate", cut, images], ["predict", cut, images], ["show", cut]):
        assert "cut.safetensors" in fails(*command)


@pytest.fixture
def full_disk(monkeypatch):
    def refuse(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", refuse)


def test_a_full_disk_ends_a_run_and_leaves_no_half_files(
    fails, full_disk, images, tmp_path
) -> None:
    line = fails("train", images, *TINY, "-o", tmp_path / "run")
    assert "split.csv could not be written (No space left on device)" in line
    assert list((tmp_path / "run").iterdir()) == []


def test_a_full_disk_ends_a_prediction(fails, full_disk, trained, images, tmp_path) -> None:
    task = trained / "task.safetensors"
    out = tmp_path / "out.json"
    line = fails("predict", task, images, "--weights", "random", "--json", out)
    assert "out.json could not be written (No space left on device)" in line
    line = fails(
        "evaluate",
        task,
        images,
        "--split",
        "all",
        "--weights",
        "random",
        "--json",
        out,
        "--resamples",
        "5",
    )
    assert "out.json could not be written" in line
    assert [path.name for path in tmp_path.iterdir() if path.name != "cache"] == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_device_is_written_to_and_not_replaced(fails, trained, images) -> None:
    before = os.stat("/dev/full").st_rdev
    task = trained / "task.safetensors"
    line = fails("predict", task, images, "--weights", "random", "--csv", "/dev/full")
    assert "/dev/full could not be written (No space left on device)" in line
    assert os.stat("/dev/full").st_rdev == before


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT])
def test_any_other_write_that_fails_gives_one_line(fails, monkeypatch, number) -> None:
    def refuse(*arguments):
        raise OSError(number, os.strerror(number), "somewhere")

    monkeypatch.setattr("medlora.data.phantoms.write_phantoms", refuse)
    assert f"somewhere could not be written ({os.strerror(number)})" in fails("phantoms", "x")


def test_an_unforeseen_error_is_not_hidden(monkeypatch) -> None:
    def fail(*arguments):
        raise OSError(errno.EIO, "broken disk")

    monkeypatch.setattr("medlora.data.phantoms.write_phantoms", fail)
    with pytest.raises(OSError, match="broken disk"):
        run_command(monkeypatch, "phantoms", "x")


def test_only_the_first_of_several_processes_tells_of_an_error(monkeypatch, capsys) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert run_command(monkeypatch, "check", "nowhere") == 2
    assert capsys.readouterr().err == ""


def test_an_interrupt_has_an_exit_code_of_its_own(monkeypatch) -> None:
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("medlora.data.phantoms.write_phantoms", interrupt)
    assert run_command(monkeypatch, "phantoms", "x") == 130


def test_help_and_version_succeed(monkeypatch, capsys) -> None:
    assert run_command(monkeypatch, "--help") == 0
    helped = capsys.readouterr().out
    for command in ("check", "train", "evaluate", "predict", "show", "phantoms", "demo"):
        assert command in helped
        assert run_command(monkeypatch, command, "--help") == 0
    capsys.readouterr()
    assert run_command(monkeypatch, "--version") == 0
    assert capsys.readouterr().out.startswith("medlora ")


def test_the_package_can_be_run_as_a_module() -> None:
    called = [sys.executable, "-m", "medlora", "--version"]
    told = subprocess.run(called, capture_output=True, text=True, check=True)
    assert told.stdout.startswith("medlora ")


def test_no_word_at_all_gives_the_help(monkeypatch, capsys) -> None:
    assert run_command(monkeypatch) == 2
    captured = capsys.readouterr()
    assert "Usage" in captured.out + captured.err


def test_usage_errors_are_no_errors_of_the_project() -> None:
    assert not issubclass(main.UsageError, MedLoRAError)
    assert main.UsageError.__name__ == "UsageError"


def test_standard_input_without_paths_is_told(fails, trained, monkeypatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\n\n")))
    line = fails("predict", trained / "task.safetensors", "-", "--weights", "random")
    assert "standard input names none" in line


def test_standard_input_stands_alone(fails, trained) -> None:
    line = fails("predict", trained / "task.safetensors", "-", "a.png", "--weights", "random")
    assert "- stands for all images" in line
