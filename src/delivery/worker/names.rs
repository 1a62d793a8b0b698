//! Looking up host names: with a deadline, and a memory.
//!
//! The system's look-up blocks for as long as it likes, so it runs in a few threads of its own; whoever asked waits
//! until its own deadline. Many workers that ask for one name share one look-up. Answers are remembered for a short
//! time, failures for a shorter one.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// How long an answer is used.
const TTL: Duration = Duration::from_secs(30);
/// How long an answer is used while it is asked for again, and where that fails: other names' slow look-ups, or a
/// resolver that is away, must not take a host from us whose address we know.
const STALE: Duration = Duration::from_secs(300);
/// How long a failure is remembered.
const NEGATIVE_TTL: Duration = Duration::from_secs(5);
/// How many look-ups run at one time.
const THREADS: usize = 4;
/// How many names wait for a look-up; more fail at once, and are tried again with their delivery.
const MAX_WAITING: usize = 1024;
/// How many names are remembered.
const MAX_NAMES: usize = 4096;

/// How many addresses of a host are tried: what ureq has room for.
const MAX_ADDRESSES: usize = 16;

type Address = (String, u16);

/// The names that are known or being looked up.
pub(in crate::delivery) struct Names {
    known: Mutex<HashMap<Address, Entry>>,
    answered: Condvar,
    requests: SyncSender<Address>,
}

enum Entry {
    Asked,
    Known {
        addresses: Vec<SocketAddr>,
        /// From when it is asked for again.
        fresh_until: Instant,
        until: Instant,
    },
    Failed {
        until: Instant,
    },
}

impl Names {
    /// Starts the look-up threads. They end when nobody holds the names any more; a look-up that hangs in the system
    /// cannot be interrupted, so nobody waits for them.
    pub(in crate::delivery) fn start() -> std::io::Result<Arc<Self>> {
        let (requests, queue) = mpsc::sync_channel(MAX_WAITING);
        let names = Arc::new(Self {
            known: Mutex::default(),
            answered: Condvar::new(),
            requests,
        });
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..THREADS {
            let (names, queue) = (Arc::downgrade(&names), Arc::clone(&queue));
            thread::Builder::new()
                .name("pgstream-names".to_owned())
                .spawn(move || {
                    while let Some(address) = next_request(&queue) {
                        let found = (address.0.as_str(), address.1).to_socket_addrs();
                        let Some(names) = names.upgrade() else { break };
                        names.answer(address, found.map(Iterator::collect));
                    }
                })?;
        }
        Ok(names)
    }

    /// The addresses of a host, waiting for them until `deadline`. `None` if it has none.
    fn look_up(
        &self,
        host: &str,
        port: u16,
        deadline: Option<Instant>,
    ) -> Result<Option<Vec<SocketAddr>>, TimedOut> {
        let address = (host.to_owned(), port);
        let mut known = self.lock();
        loop {
            let now = Instant::now();
            match known.get_mut(&address) {
                Some(Entry::Known {
                    addresses,
                    fresh_until,
                    until,
                }) if *until > now => {
                    if *fresh_until <= now && self.requests.try_send(address).is_ok() {
                        *fresh_until = now + TTL;
                    }
                    return Ok(Some(addresses.clone()));
                }
                Some(Entry::Failed { until }) if *until > now => return Ok(None),
                Some(Entry::Asked) => {}
                _ => {
                    if self.requests.try_send(address.clone()).is_err() {
                        return Ok(None);
                    }
                    forget_some(&mut known, now);
                    known.insert(address.clone(), Entry::Asked);
                }
            }
            known = match deadline {
                Some(deadline) if deadline <= now => return Err(TimedOut),
                Some(deadline) => {
                    self.answered
                        .wait_timeout(known, deadline - now)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
                None => self.answered.wait(known).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    fn answer(&self, address: Address, found: std::io::Result<Vec<SocketAddr>>) {
        let now = Instant::now();
        let mut known = self.lock();
        match found {
            Ok(addresses) if !addresses.is_empty() => {
                let entry = Entry::Known {
                    addresses,
                    fresh_until: now + TTL,
                    until: now + STALE,
                };
                known.insert(address, entry);
            }
            _ if matches!(known.get(&address), Some(Entry::Known { until, .. }) if *until > now) => {}
            _ => {
                let until = now + NEGATIVE_TTL;
                known.insert(address, Entry::Failed { until });
            }
        }
        drop(known);
        self.answered.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Address, Entry>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct TimedOut;

fn next_request(queue: &Mutex<Receiver<Address>>) -> Option<Address> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

/// Keeps the memory bounded: first what is out of date goes, then whatever is not being asked for.
fn forget_some(known: &mut HashMap<Address, Entry>, now: Instant) {
    if known.len() < MAX_NAMES {
        return;
    }
    known.retain(|_, entry| match entry {
        Entry::Asked => true,
        Entry::Known { until, .. } | Entry::Failed { until } => *until > now,
    });
    if known.len() >= MAX_NAMES {
        known.retain(|_, entry| matches!(entry, Entry::Asked));
    }
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names").finish_non_exhaustive()
    }
}

/// What an agent asks.
#[derive(Debug)]
pub(super) struct CachingResolver(pub(super) Arc<Names>);

impl Resolver for CachingResolver {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        let host = uri
            .host()
            .ok_or_else(|| Error::BadUri("it names no host".to_owned()))?;
        let default_port = if uri.scheme_str() == Some("https") {
            443
        } else {
            80
        };
        let port = uri.port_u16().unwrap_or(default_port);
        let mut addresses = self.empty();
        if let Ok(ip) = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<IpAddr>()
        {
            addresses.push(SocketAddr::new(ip, port));
            return Ok(addresses);
        }
        let deadline = Instant::now().checked_add(*timeout.after);
        match self.0.look_up(host, port, deadline) {
            Ok(Some(found)) => {
                for address in config
                    .ip_family()
                    .keep_wanted(found.into_iter())
                    .take(MAX_ADDRESSES)
                {
                    addresses.push(address);
                }
                if addresses.is_empty() {
                    Err(Error::HostNotFound)
                } else {
                    Ok(addresses)
                }
            }
            Ok(None) => Err(Error::HostNotFound),
            Err(TimedOut) => Err(Error::Timeout(timeout.reason)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn soon() -> Option<Instant> {
        Some(Instant::now() + Duration::from_secs(10))
    }

    #[test]
    fn an_answer_is_remembered_and_shared() {
        let names = Names::start().unwrap();
        let asking: Vec<_> = (0..8)
            .map(|_| {
                let names = Arc::clone(&names);
                thread::spawn(move || names.look_up("localhost", 80, soon()).ok().flatten())
            })
            .collect();
        for asked in asking {
            assert!(
                asked
                    .join()
                    .unwrap()
                    .unwrap()
                    .iter()
                    .all(|address| address.ip().is_loopback())
            );
        }
        assert!(matches!(
            names.lock().get(&("localhost".to_owned(), 80)),
            Some(Entry::Known { .. })
        ));
    }

    #[test]
    fn a_name_that_does_not_exist_is_not_found() {
        let names = Names::start().unwrap();
        assert!(matches!(
            names.look_up("does-not-exist.invalid", 80, soon()),
            Ok(None)
        ));
    }

    #[test]
    fn a_known_host_is_reached_while_it_is_asked_for_again_and_when_that_fails() {
        let names = Names::start().unwrap();
        let now = Instant::now();
        let address: SocketAddr = "192.0.2.1:80".parse().unwrap();
        let key = ("does-not-exist.invalid".to_owned(), 80);
        let stale = Entry::Known {
            addresses: vec![address],
            fresh_until: now,
            until: now + STALE,
        };
        names.lock().insert(key.clone(), stale);
        let looked_up = || names.look_up(&key.0, key.1, soon()).ok().flatten();
        assert_eq!(looked_up(), Some(vec![address]));
        names.answer(key.clone(), Err(std::io::ErrorKind::Other.into()));
        assert_eq!(looked_up(), Some(vec![address]));
    }

    #[test]
    fn nobody_waits_longer_than_its_deadline() {
        let names = Names::start().unwrap();
        names.lock().insert(("slow".to_owned(), 80), Entry::Asked);
        let deadline = Some(Instant::now() + Duration::from_millis(20));
        assert!(matches!(names.look_up("slow", 80, deadline), Err(TimedOut)));
    }

    #[test]
    fn the_memory_is_bounded() {
        let now = Instant::now();
        let mut known: HashMap<Address, Entry> = (0..MAX_NAMES)
            .map(|n| {
                (
                    (format!("host{n}"), 80),
                    Entry::Known {
                        addresses: Vec::new(),
                        fresh_until: now + TTL,
                        until: now + STALE,
                    },
                )
            })
            .collect();
        known.insert(("asked".to_owned(), 80), Entry::Asked);
        forget_some(&mut known, now);
        assert_eq!(known.len(), 1);
    }
}
