// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The process at the other end of the connection: it sends back what it receives.

use std::error::Error;
use std::io::{self, Read, Write};
use std::thread;
use std::time::{Duration, Instant};

use crate::vsock::PAYLOAD;
use vsock::{VMADDR_CID_ANY, VsockListener, VsockStream};

/// VMADDR_PORT_ANY: any port that is free.
const ANY_PORT: u32 = u32::MAX;

/// A device that is stopped for this long is not started any more.
const PATIENCE: Duration = Duration::from_secs(20);

/// Prints its port, serves one connection to its end, and prints how many packets it received.
/// Fails if a packet was out of order.
///
/// # Errors
///
/// Those of the socket, and a packet that is out of order.
pub fn run() -> Result<(), Box<dyn Error>> {
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
        send(&mut stream, &payload)?;
    }
    writeln!(out, "{packets}")?;
    Ok(())
}

/// Sends a packet. Since Linux 7 this fails while the device of the guest is stopped.
fn send(stream: &mut VsockStream, payload: &[u8]) -> io::Result<()> {
    let end = Instant::now() + PATIENCE;
    loop {
        match stream.write_all(payload) {
            Err(error)
                if error.kind() == io::ErrorKind::HostUnreachable && Instant::now() < end =>
            {
                thread::sleep(Duration::from_millis(1));
            }
            result => return result,
        }
    }
}

/// The guest does not close its connection: closing the device resets it.
fn is_the_end(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset
    )
}
