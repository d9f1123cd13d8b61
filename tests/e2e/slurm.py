"""A real Slurm of one node for tests: no systemd, no cgroups, no accounting; all its state in one folder."""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "squeue", "munged")
SECONDS = 120.0  # for a daemon to answer, or a job to begin

_CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={root}/munge/sock,cred_expire=5
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd.log
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
ReturnToService=2
JobRequeue=1
KillWait=5
SlurmdParameters=config_overrides
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=8000 State=UNKNOWN
PartitionName=main Nodes=n1 Default=YES DefMemPerCPU=100 MaxTime=INFINITE State=UP
"""


class Slurm:
    """Daemons of one node.

    Args:
        root: folder of all its state; short, as a socket is in it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        for part in ("munge", "state", "spool"):
            (root / part).mkdir(parents=True, mode=0o755)
        (root / "munge" / "key").write_bytes(os.urandom(128))
        (root / "munge" / "key").chmod(0o600)
        conf = _CONF.format(
            host=socket.gethostname().split(".")[0], user=_user(), root=root, ports=[_port(), _port()]
        )
        (root / "slurm.conf").write_text(conf)
        (root / "cgroup.conf").write_text("CgroupAutomount=no\n")
        self.environment = os.environ | {"SLURM_CONF": str(root / "slurm.conf")}

    def start(self) -> None:
        """Start all daemons, and wait for the node."""
        munge = self.root / "munge"
        files = {
            "key-file": "key",
            "socket": "sock",
            "pid-file": "pid",
            "log-file": "log",
            "seed-file": "seed",
        }
        options = [f"--{name}={munge / file}" for name, file in files.items()]
        self.call("munged", *options, "--num-threads=2", "--force")
        self.start_controller()
        self.call("slurmd", "-N", "n1")
        self.until(lambda: self.call("sinfo", "-h", "-o", "%t").strip() in ("idle", "mix"))

    def start_controller(self) -> None:
        self.call("slurmctld")

    def stop_controller(self) -> None:
        self._kill("slurmctld.pid")

    def stop(self) -> None:
        """End all jobs and daemons."""
        if jobs := self.call("squeue", "-h", "-o", "%A").split():
            self.call("scancel", *set(jobs))
            self.until(lambda: not self.call("squeue", "-h").strip())
        for file in ("slurmd.pid", "slurmctld.pid", "munge/pid"):
            self._kill(file)

    def call(self, *command: str) -> str:
        """What a command of Slurm says."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def until(self, holds, seconds: float = SECONDS) -> None:
        """Wait for a state of other processes."""
        end = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < end, self.call("squeue", "-t", "all")
            time.sleep(0.1)

    def _kill(self, file: str) -> None:
        number = int((self.root / file).read_text())
        os.kill(number, signal.SIGTERM)
        self.until(lambda: not _is_alive(number))


def missing() -> str:
    """Why there can be no Slurm here, or ""; it is installed where apt can."""
    absent = [name for name in PROGRAMS if not shutil.which(name)]
    if absent and os.geteuid() == 0 and shutil.which("apt-get"):
        packages = "slurmctld slurmd slurm-client munge"
        command = f"apt-get update -qq && apt-get install -y -qq --no-install-recommends {packages}"
        apt = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(command, shell=True, env=apt, capture_output=True, check=False, timeout=300)
        absent = [name for name in PROGRAMS if not shutil.which(name)]
    return f"Slurm is not here: no {', '.join(absent)}" if absent else ""


def _is_alive(number: int) -> bool:
    try:
        state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def _user() -> str:
    import pwd

    return pwd.getpwuid(os.geteuid()).pw_name


def _port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
