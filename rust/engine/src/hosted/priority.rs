//! A worker goes before ordinary threads and after the audio thread, where the system lets it.

/// Asks for the lowest real-time priority, and failing that for a better nice value. Both need a right
/// that users of JACK have (`rtprio` and `nice` in limits.conf); without it the thread is an ordinary
/// one. The kernel keeps 5 % of the time for the others should a model never rest.
/// Thread: worker, at its start.
#[cfg(target_os = "linux")]
pub(super) fn raise() {
    // SAFETY: an all-zero sched_param is a valid one.
    let mut wish: libc::sched_param = unsafe { std::mem::zeroed() };
    wish.sched_priority = 1;
    // SAFETY: `wish` is a valid sched_param that outlives the call; the thread is this one.
    let refused =
        unsafe { libc::pthread_setschedparam(libc::pthread_self(), libc::SCHED_RR, &raw const wish) };
    if refused != 0 {
        // SAFETY: takes numbers only; on Linux 0 is this thread, not the process.
        unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -10) };
    }
}

/// Nothing is known of other systems here.
#[cfg(not(target_os = "linux"))]
pub(super) fn raise() {}
