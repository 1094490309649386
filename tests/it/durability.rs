//! Acknowledged means: fdatasync returned. Watched from outside, with strace, since a change of
//! linking could silently take our fdatasync away from under sled.

use std::process::Command;

use uuid::Uuid;

use crate::support::{
    load::send,
    process::{MeterdProcess, serve_command},
};

/// Whether processes can be traced here: strace is installed and ptrace is allowed.
fn can_trace() -> bool {
    Command::new("strace")
        .args(["-o", "/dev/null", "true"])
        .status()
        .is_ok_and(|status| status.success())
}

/// A system call of the trace: the lines at which it began and ended.
struct Call {
    name: String,
    began: usize,
    ended: usize,
    text: String,
}

/// Reads `strace -f` output, joining calls that were interrupted by other threads.
fn calls(trace: &str) -> Vec<Call> {
    let mut unfinished: Vec<(String, Call)> = Vec::new();
    let mut calls = Vec::new();
    for (line_number, line) in trace.lines().enumerate() {
        let Some((thread, text)) = line.split_once(' ') else { continue };
        let text = text.trim_start();
        if let Some(begun) = text.strip_suffix(" <unfinished ...>") {
            let name = begun.split('(').next().unwrap().to_owned();
            let call = Call { name, began: line_number, ended: 0, text: begun.to_owned() };
            unfinished.push((thread.to_owned(), call));
        } else if text.starts_with("<... ") {
            let Some(at) = unfinished.iter().position(|(of, _)| of == thread) else { continue };
            let (_, mut call) = unfinished.remove(at);
            call.ended = line_number;
            call.text.push_str(text);
            calls.push(call);
        } else {
            let name = text.split('(').next().unwrap().to_owned();
            calls.push(Call {
                name,
                began: line_number,
                ended: line_number,
                text: text.to_owned(),
            });
        }
    }
    calls
}

#[tokio::test]
async fn every_answer_comes_after_an_fdatasync_of_what_it_acknowledges() {
    if !can_trace() {
        eprintln!(
            "SKIPPED: strace is not installed or ptrace is not allowed; durability was NOT proven here"
        );
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let data_dir = directory.path().join("data");
    let trace_file = directory.path().join("trace");
    let launcher = [
        "strace",
        "-f",
        "-y",
        "-s",
        "4096",
        "-e",
        "trace=pwrite64,fdatasync,fsync,sync_file_range,writev,sendto,sendmsg,write",
        "-o",
        trace_file.to_str().unwrap(),
    ];
    let server = MeterdProcess::start(serve_command(&launcher, &data_dir));
    let mut client = server.image();
    let uuids: Vec<Uuid> = (0..10).map(|_| Uuid::new_v4()).collect();
    for uuid in &uuids {
        assert_eq!(send(&mut client, &[*uuid]).await.unwrap().0.len(), 1);
    }
    let traced = Command::new("pgrep").args(["-P", &server.id().to_string()]).output().unwrap();
    let traced: u32 = String::from_utf8(traced.stdout).unwrap().trim().parse().unwrap();
    assert!(server.terminate(traced));

    let trace = std::fs::read_to_string(&trace_file).unwrap();
    let calls = calls(&trace);
    let on_store = |call: &&Call| call.text.contains("/data/db>");
    let writes: Vec<&Call> =
        calls.iter().filter(|call| call.name == "pwrite64").filter(on_store).collect();
    let syncs: Vec<&Call> = calls
        .iter()
        .filter(|call| call.name == "fdatasync" && call.text.ends_with("= 0"))
        .filter(on_store)
        .collect();
    assert!(
        !calls.iter().any(|call| call.text.contains("SYNC_FILE_RANGE_WRITE")),
        "sled reached the C library's function"
    );
    for uuid in uuids {
        let answer = calls
            .iter()
            .find(|call| {
                ["writev", "sendto", "sendmsg", "write"].contains(&call.name.as_str())
                    && call.text.contains(&uuid.to_string())
            })
            .unwrap_or_else(|| panic!("the answer for {uuid} is not in the trace"));
        let write = writes.iter().rfind(|write| write.ended < answer.began).unwrap();
        let synced = syncs.iter().any(|sync| write.ended < sync.began && sync.ended < answer.began);
        assert!(
            synced,
            "{uuid} was acknowledged at line {} without a sync of the write before",
            answer.began
        );
    }
}
