//! A worker goes before ordinary threads and after the audio thread, where the system lets it, and as long
//! as it rests between hops.

/// A thread as the system knows it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ThreadId(#[cfg(target_os = "linux")] libc::pid_t);

/// Lowest real-time priority; and just above it, for who must stop such a thread.
pub(super) const WORKER: i32 = 1;
pub(super) const WATCH: i32 = 2;

#[cfg(target_os = "linux")]
mod system {
    use super::ThreadId;
    use std::time::Duration;

    impl ThreadId {
        /// The calling thread.
        pub fn here() -> Self {
            // SAFETY: takes nothing and cannot fail.
            Self(unsafe { libc::gettid() })
        }

        /// What it has computed since its start; None if it is gone.
        pub fn computed(self) -> Option<Duration> {
            // The kernel's clock of one thread (MAKE_THREAD_CPUCLOCK of linux/posix-timers.h).
            let clock = (!self.0 << 3) | 6;
            let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
            // SAFETY: `time` is a valid timespec that outlives the call; a wrong clock is refused.
            let refused = unsafe { libc::clock_gettime(clock, &raw mut time) };
            (refused == 0).then(|| Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
        }
    }

    fn schedule(thread: ThreadId, policy: libc::c_int, priority: i32) -> bool {
        // SAFETY: an all-zero sched_param is a valid one.
        let mut wish: libc::sched_param = unsafe { std::mem::zeroed() };
        wish.sched_priority = priority;
        // SAFETY: `wish` is a valid sched_param that outlives the call; on Linux the number of a thread stands
        // for that thread alone.
        unsafe { libc::sched_setscheduler(thread.0, policy, &raw const wish) == 0 }
    }

    fn nice(thread: ThreadId, value: libc::c_int) {
        // SAFETY: takes numbers only; on Linux the number of a thread stands for that thread alone.
        unsafe { libc::setpriority(libc::PRIO_PROCESS, thread.0 as libc::id_t, value) };
    }

    /// Asks for a real-time priority, and failing that for a better nice value. Both need a right that
    /// users of JACK have (`rtprio` and `nice` in limits.conf); without it the thread is an ordinary one.
    /// Thread: the one that is meant.
    pub fn raise(priority: i32) {
        let here = ThreadId::here();
        if !schedule(here, libc::SCHED_RR, priority) {
            nice(here, -10);
        }
    }

    /// Makes it an ordinary thread, which shares the processors with all others. Needs no right.
    pub fn lower(thread: ThreadId) {
        schedule(thread, libc::SCHED_OTHER, 0);
        nice(thread, 0);
    }
}

/// Nothing is known of other systems here.
#[cfg(not(target_os = "linux"))]
mod system {
    use super::ThreadId;
    use std::time::Duration;

    impl ThreadId {
        pub fn here() -> Self {
            Self()
        }

        pub fn computed(self) -> Option<Duration> {
            None
        }
    }

    pub fn raise(_priority: i32) {}

    pub fn lower(_thread: ThreadId) {}
}

pub(super) use system::{lower, raise};
