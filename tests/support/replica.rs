//! A stand-by of a throwaway server.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pgstream::demo::cluster::Cluster;
use std::path::PathBuf;

/// How long it may take to follow, or to become the primary.
const DEADLINE: Duration = Duration::from_secs(30);

/// A stand-by. It lies in the folder of its primary, and ends when dropped.
pub(crate) struct Replica {
    server: Child,
    port: u16,
    folder: PathBuf,
}

impl Replica {
    /// A copy of the primary that follows it, and answers.
    pub(crate) fn of(primary: &Cluster) -> Self {
        let folder = primary.socket_folder().join("replica");
        let copied = primary
            .command("pg_basebackup")
            .arg("--pgdata")
            .arg(&folder)
            .args([
                "--write-recovery-conf",
                "--checkpoint=fast",
                "--no-sync",
                "--host",
            ])
            .arg(primary.socket_folder())
            .args(["--port", &primary.port().to_string(), "--username=postgres"])
            .output()
            .expect("pg_basebackup runs");
        assert!(copied.status.success(), "{copied:?}");
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .and_then(|listener| listener.local_addr())
            .expect("a port is free")
            .port();
        let log =
            fs::File::create(primary.socket_folder().join("replica.log")).expect("the folder is writable");
        let server = primary
            .command("postgres")
            .arg("-D")
            .arg(&folder)
            .arg("-k")
            .arg(&folder)
            .args(["-p", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the stand-by starts");
        let replica = Self { server, port, folder };
        replica.wait_for("accepts connections", "ready");
        replica
    }

    /// Its port on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Makes it the primary.
    pub(crate) fn promote(&self) {
        fs::write(self.folder.join("promote"), "").expect("the folder is writable");
        kill(self.pid(), Signal::SIGUSR1).expect("the stand-by runs");
        let deadline = Instant::now() + DEADLINE;
        while self.folder.join("standby.signal").exists() {
            assert!(Instant::now() < deadline, "was not promoted");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until the server's own file says that it is so far.
    fn wait_for(&self, what: &str, word: &str) {
        let deadline = Instant::now() + DEADLINE;
        let is_so_far = || {
            let text = fs::read_to_string(self.folder.join("postmaster.pid")).unwrap_or_default();
            text.lines().nth(7).is_some_and(|line| line.trim() == word)
        };
        while !is_so_far() {
            assert!(Instant::now() < deadline, "no sign that the stand-by {what}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.server.id()).expect("process ids fit in 31 bits"))
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = kill(self.pid(), Signal::SIGQUIT);
        let _ = self.server.wait();
    }
}
