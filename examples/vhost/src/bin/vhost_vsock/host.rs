// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The process at the other end of the connection: it sends back what it receives.

use std::error::Error;
use std::io::{self, Read, Write};

use vhost_examples::vsock::PAYLOAD;
use vsock::{VMADDR_CID_ANY, VsockListener};

/// VMADDR_PORT_ANY: any port that is free.
const ANY_PORT: u32 = u32::MAX;

/// Prints its port, serves one connection to its end, and prints how many packets there were, or
/// fails if one of them was not the next.
pub(crate) fn run() -> Result<(), Box<dyn Error>> {
    let listener = VsockListener::bind_with_cid_port(VMADDR_CID_ANY, ANY_PORT)?;
    let mut out = io::stdout();
    writeln!(out, "{}", listener.local_addr()?.port())?;
    out.flush()?;
    let (mut stream, _) = listener.accept()?;
    let mut packets = 0_u64;
    let mut payload = [0; PAYLOAD as usize];
    loop {
        match stream.read_exact(&mut payload) {
            Ok(()) => {}
            Err(error) if is_the_end(error.kind()) => break,
            Err(error) => return Err(error.into()),
        }
        packets += 1;
        let number = u64::from_le_bytes(payload);
        if number != packets {
            return Err(format!("packet {number} came where {packets} was due").into());
        }
        stream.write_all(&payload)?;
    }
    writeln!(out, "{packets}")?;
    Ok(())
}

/// The guest does not end its connection: that of a device which is closed is reset.
fn is_the_end(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset
    )
}

#[cfg(target_arch = "x86_64")]
pub(crate) use parent::Host;

#[cfg(target_arch = "x86_64")]
mod parent {
    use std::env;
    use std::error::Error;
    use std::io::{BufRead, BufReader};
    use std::process::{Child, ChildStdout, Command, Stdio};

    use crate::HOST;

    /// This program once more, as that process. It does not outlive this.
    pub(crate) struct Host {
        process: Child,
        lines: BufReader<ChildStdout>,
    }

    impl Host {
        /// Starts it. Returns it, and the port that it listens on.
        pub(crate) fn start() -> Result<(Self, u32), Box<dyn Error>> {
            let mut command = Command::new(env::current_exe()?);
            command.arg(format!("--{HOST}")).stdout(Stdio::piped());
            let mut process = command.spawn()?;
            let lines = process.stdout.take().map(BufReader::new);
            let lines = lines.ok_or("a process without its standard output")?;
            let mut host = Self { process, lines };
            let port = host.number()?;
            Ok((host, u32::try_from(port)?))
        }

        /// Waits until it has ended. The device must have been closed. Returns how many packets it
        /// has sent back.
        pub(crate) fn end(mut self) -> Result<u64, Box<dyn Error>> {
            let packets = self.number();
            let status = self.process.wait()?;
            if !status.success() {
                return Err(format!("the process of the host ended with {status}").into());
            }
            packets
        }

        fn number(&mut self) -> Result<u64, Box<dyn Error>> {
            let mut line = String::new();
            self.lines.read_line(&mut line)?;
            let number = line.trim().parse();
            number.map_err(|_| "the process of the host has ended early".into())
        }
    }

    impl Drop for Host {
        fn drop(&mut self) {
            // One that cannot be killed has ended.
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}
