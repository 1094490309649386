//! Overload and abuse of the real binary, over real sockets. Whatever strangers do, callers on other connections are
//! served, memory and descriptors stay within bounds, the log does not grow with the abuse, and the server is ready and
//! ends when it is told to.
//!
//! `METERD_ABUSE=full` takes the large sizes: 100,000 streams, 10,000 connections. `METERD_ABUSE_SEED` repeats what is
//! random.

mod bombs;
mod cancelled;
mod crowds;
mod floods;
mod frames;
mod http2;
mod log_lines;
mod refused;
mod shutdown;
mod siege;
mod sign_in;
mod slots;
mod slow;
mod unfinished;
mod unread;

/// One of two sizes: that of every run, or the full one.
fn size(short: usize, full: usize) -> usize {
    if std::env::var("METERD_ABUSE").is_ok_and(|size| size == "full") { full } else { short }
}

/// As many connections, or as many as this process may have descriptors for, less those that others need.
fn connections(short: usize, full: usize) -> usize {
    const OTHERS: u64 = 1000;
    let descriptors = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(1024);
    let most = usize::try_from(descriptors.saturating_sub(OTHERS)).unwrap_or(usize::MAX).max(100);
    let wanted = size(short, full);
    if wanted > most {
        eprintln!(
            "abuse: {most} connections instead of {wanted}: there are {descriptors} descriptors"
        );
    }
    wanted.min(most)
}
