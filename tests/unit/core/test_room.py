from pathlib import Path

from driftmap.core import containers, room
from driftmap.core.room import free_disk, free_memory, is_in_memory


def test_memory_is_the_least_of_machine_and_container(monkeypatch, tmp_path):
    machine, container = tmp_path / "meminfo", tmp_path / "group"
    machine.write_text("MemTotal: 9 kB\nMemAvailable:       3 kB\n")
    container.mkdir()
    monkeypatch.setattr(room, "_MEMINFO", machine)
    monkeypatch.setattr(containers, "_ROOT", container)
    assert free_memory() == 3 * 1024
    (container / "memory.max").write_text("2000\n")
    (container / "memory.current").write_text("500\n")
    assert free_memory() == 1500
    (container / "memory.current").write_text("2500\n")
    assert free_memory() == 0


def test_disk_is_that_of_the_nearest_folder_there_is(tmp_path):
    assert free_disk(tmp_path / "not" / "yet") > 0


def test_the_innermost_mount_says_whether_a_place_is_memory(monkeypatch, tmp_path):
    mounts = tmp_path / "mounts"
    monkeypatch.setattr(room, "_MOUNTS", mounts)
    here = tmp_path.resolve()
    disk, memory = "/dev/a / ext4 rw 0 0\n", f"tmpfs {here} tmpfs rw 0 0\n"
    mounts.write_text(disk)
    assert not is_in_memory(tmp_path / "new")
    mounts.write_text(memory + disk)
    assert is_in_memory(tmp_path / "new")
    assert not is_in_memory(Path("/"))
    mounts.write_text(memory + disk + f"/dev/b {here} ext4 rw 0 0\n")
    assert not is_in_memory(tmp_path / "new")


def test_a_system_that_lists_no_mounts_has_only_disks(monkeypatch, tmp_path):
    monkeypatch.setattr(room, "_MOUNTS", tmp_path / "absent")
    assert not is_in_memory(Path("/dev/shm"))
