// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`wakeups`]: how many times threads of this process were woken.

use std::fs;
use std::io;

use nix::errno::Errno;

/// How many times the threads of this process have slept and been woken so far.
///
/// Threads with these kernel thread numbers are not counted: a vCPU sleeps in KVM_RUN while its
/// guest halts, and its returns to user space are counted instead. Neither are vhost's own workers,
/// which belong to the process since Linux 6.4.
///
/// # Errors
///
/// Those of reading `/proc`.
pub fn wakeups(without: &[i32]) -> io::Result<u64> {
    let mut sum = 0;
    for task in fs::read_dir("/proc/self/task")? {
        let task = task?;
        let number = task.file_name().to_str().and_then(|name| name.parse().ok());
        if number.is_some_and(|number| without.contains(&number)) {
            continue;
        }
        let status = match fs::read_to_string(task.path().join("status")) {
            Ok(status) => status,
            Err(error) if has_ended(&error) => continue,
            Err(error) => return Err(error),
        };
        sum += of_status(&status);
    }
    Ok(sum)
}

/// Whether the thread has ended: before its file was opened, or between that and the read.
fn has_ended(error: &io::Error) -> bool {
    let missing = [Errno::ENOENT, Errno::ESRCH];
    missing
        .map(|errno| Some(errno as i32))
        .contains(&error.raw_os_error())
}

fn of_status(status: &str) -> u64 {
    let value = |name: &str| {
        let mut lines = status.lines();
        lines
            .find_map(|line| line.strip_prefix(name))
            .map(str::trim)
    };
    if value("Name:").is_some_and(|name| name.starts_with("vhost-")) {
        return 0;
    }
    let switches = value("voluntary_ctxt_switches:");
    switches.and_then(|text| text.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_thread_that_sleeps_is_counted() {
        let own = || of_status(&fs::read_to_string("/proc/thread-self/status").unwrap());
        let before = own();
        for _ in 0..5 {
            thread::sleep(Duration::from_millis(1));
        }
        assert!(own() >= before + 5);
        assert!(wakeups(&[]).unwrap() > 0);
    }

    #[test]
    fn a_worker_of_vhost_is_not_counted() {
        let of = |name| of_status(&format!("Name:\t{name}\nvoluntary_ctxt_switches:\t7\n"));
        assert_eq!((of("vhost_vsock"), of("vhost-1234")), (7, 0));
    }
}
