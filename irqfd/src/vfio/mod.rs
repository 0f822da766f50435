// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The INTx interrupt of a device that is passed through (VFIO).

mod device;
mod error;
mod intx;

pub use device::IntxDevice;
pub use error::IntxError;
pub use intx::PassthroughIntx;
