// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! [`connect`] and [`describe`]: the VMM's requests to a daemon, in the required order.

use std::error::Error;
use std::os::unix::net::UnixStream;

use crate::ring::{Ring, SIZE};
use vhost::vhost_user::message::{
    VhostUserHeaderFlag, VhostUserProtocolFeatures, VhostUserVirtioFeatures,
};
use vhost::vhost_user::{Frontend, VhostUserFrontend};
use vhost::{VhostBackend, VhostUserMemoryRegionInfo};
use vm_memory::{GuestMemoryBackend, GuestMemoryMmap};

use super::daemon::VERSION_1;

/// Negotiates ownership and features with the daemon at the other end of a stream.
pub(crate) fn connect(stream: UnixStream, rings: usize) -> Result<Frontend, Box<dyn Error>> {
    let mut frontend = Frontend::from_stream(stream, rings as u64);
    negotiate(&mut frontend)?;
    Ok(frontend)
}

/// Describes the memory and the rings to a daemon, without their eventfds. The rings are stopped.
pub(crate) fn describe(
    frontend: &Frontend,
    memory: &GuestMemoryMmap,
    rings: &[Ring],
) -> Result<(), Box<dyn Error>> {
    let regions = memory
        .iter()
        .map(VhostUserMemoryRegionInfo::from_guest_region);
    frontend.set_mem_table(&regions.collect::<Result<Vec<_>, _>>()?)?;
    for (queue, ring) in rings.iter().enumerate() {
        describe_ring(frontend, queue, ring, memory)?;
    }
    Ok(())
}

fn negotiate(frontend: &mut Frontend) -> Result<(), Box<dyn Error>> {
    frontend.set_owner()?;
    let wanted = VERSION_1 | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits();
    let offered = frontend.get_features()?;
    if offered & wanted != wanted {
        return Err(format!("the daemon offers the features {offered:#x}, not {wanted:#x}").into());
    }
    let protocol = frontend.get_protocol_features()? & VhostUserProtocolFeatures::REPLY_ACK;
    frontend.set_protocol_features(protocol)?;
    if !protocol.is_empty() {
        frontend.set_hdr_flags(VhostUserHeaderFlag::NEED_REPLY);
    }
    frontend.set_features(wanted)?;
    Ok(())
}

/// Sets size and addresses of a ring, and where the daemon goes on: after the last buffer that was
/// used.
fn describe_ring(
    frontend: &Frontend,
    queue: usize,
    ring: &Ring,
    memory: &GuestMemoryMmap,
) -> Result<(), Box<dyn Error>> {
    frontend.set_vring_num(queue, SIZE)?;
    frontend.set_vring_addr(queue, &ring.host_config(memory)?)?;
    frontend.set_vring_base(queue, ring.used_index(memory)?)?;
    Ok(())
}
