//! Sessions that write side by side.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pgstream::demo::cluster::Cluster;
use sqlx::{AssertSqlSafe, Executor};

use super::database;
use super::world::{Sql, World};

/// How often it is looked how far they are.
pub(crate) const POLL: Duration = Duration::from_millis(2);

/// In one session, runs transactions of a few times `test.step()` for as long as `go_on` says so, and counts them in `done`.
/// Some are rolled back, as are those that cannot be done since another session was faster.
pub(crate) fn write(
    cluster: &Cluster,
    lock_timeout: &str,
    done: &AtomicUsize,
    go_on: impl Fn(usize) -> bool,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime starts");
    runtime.block_on(async {
        let mut session = database::session_in(&database::url(cluster, "postgres")).await;
        database::run(&mut session, &format!("SET lock_timeout = '{lock_timeout}'")).await;
        let mut own = 0;
        while go_on(own) {
            let steps = "SELECT test.step();".repeat(fastrand::usize(1..5));
            let end = if fastrand::u8(..8) == 0 {
                "ROLLBACK"
            } else {
                "COMMIT"
            };
            database::run(&mut session, "BEGIN").await;
            let worked = session.execute(AssertSqlSafe(steps)).await.is_ok();
            database::run(&mut session, if worked { end } else { "ROLLBACK" }).await;
            own += 1;
            done.fetch_add(1, Ordering::Relaxed);
            // As much as can be delivered meanwhile.
            tokio::time::sleep(POLL).await;
        }
    });
}

/// Waits until so many of them have ended.
pub(crate) fn wait_until_done(done: &AtomicUsize, count: usize) {
    while done.load(Ordering::Relaxed) < count {
        thread::sleep(POLL);
    }
}

/// A session of the server that is stopped where it waits for the lock of a table, which it has by now. Goes on when it is
/// dropped.
pub(crate) struct Stopped(Pid);

impl Stopped {
    /// Stops this process of a server.
    pub(crate) fn process(pid: i32) -> Self {
        let pid = Pid::from_raw(pid);
        kill(pid, Signal::SIGSTOP).expect("the server's process can be stopped");
        Self(pid)
    }

    /// Has `read` begin to read table `t`, and stops that reading.
    pub(crate) fn of(world: &World, read: impl FnOnce()) -> Self {
        let mut sql = Sql::open(&world.cluster, "postgres");
        let mut locking = Sql::open(&world.cluster, "postgres");
        locking.run("BEGIN");
        locking.run("LOCK TABLE t IN ACCESS EXCLUSIVE MODE");
        read();
        let waiting =
            "FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%LOCK TABLE ONLY%'";
        sql.wait_for(&format!("SELECT count(*) = 1 {waiting}"));
        let stopped = Self::process(sql.value(&format!("SELECT pid {waiting}")));
        locking.run("COMMIT");
        stopped
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // It may have been ended.
        let _ = kill(self.0, Signal::SIGCONT);
    }
}
