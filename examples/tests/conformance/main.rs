// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! KVM's behaviour, as a list of cases that run on two VMs: `SimVm`, and `/dev/kvm` itself.
//!
//! A case states the behaviour of a real kernel (verified on Linux 6.18, x86-64), and both VMs must
//! have it. A case's name begins with the VM on which it runs:
//! `sim::A_ioeventfd::assign_pio_len_0x3`, `kvm::A_ioeventfd::assign_pio_len_0x3`. The sections
//! read as documentation of KVM:
//!
//! | section | what it is about |
//! |---|---|
//! | `A_ioeventfd`, `A_collision`, `A_deassign`, `A_limits` | KVM_IOEVENTFD |
//! | `A2_write`, `A2_shadow`, `A2_device` | which doorbells a guest's write rings |
//! | `B_irqfd`, `B_counter`, `B_delivery` | KVM_IRQFD, and eventfds while they are bound |
//! | `C_routing`, `C_default` | KVM_SET_GSI_ROUTING |
//! | `D_injection` | KVM_SIGNAL_MSI, KVM_IRQ_LINE, KVM_IRQ_LINE_STATUS, KVM_INTERRUPT |
//! | `E_eventfd` | eventfd(2) by itself, which runs once, as `host::` |
//! | `R_resample` | level-triggered interrupts and their ends |
//! | `kernel_only` | what no user-space machine can do, each with the reason |
//! | `side_by_side` | random requests to both VMs, and all results compared |
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod a2_devices;
mod a2_shadows;
mod a2_writes;
mod a_collisions;
mod a_deassign;
mod a_ioeventfd;
mod a_limits;
mod b_counter;
mod b_delivery;
mod b_irqfd;
mod backend;
mod c_default;
mod c_routing;
mod case;
mod d_injection;
mod e_eventfd;
mod event;
mod expect;
#[cfg(target_arch = "x86_64")]
mod kernel_only;
mod r_resample;
mod request;
#[cfg(target_arch = "x86_64")]
mod side_by_side;

use std::process::ExitCode;

use case::{Case, Host};
use kvm_test::{Trial, anywhere};

/// A section's name, and its cases.
type Section = (&'static str, fn() -> Vec<Case>);

const SECTIONS: [Section; 14] = [
    ("A_ioeventfd", a_ioeventfd::cases),
    ("A_collision", a_collisions::cases),
    ("A_deassign", a_deassign::cases),
    ("A_limits", a_limits::cases),
    ("A2_write", a2_writes::cases),
    ("A2_shadow", a2_shadows::cases),
    ("A2_device", a2_devices::cases),
    ("B_irqfd", b_irqfd::cases),
    ("B_counter", b_counter::cases),
    ("B_delivery", b_delivery::cases),
    ("C_routing", c_routing::cases),
    ("C_default", c_default::cases),
    ("D_injection", d_injection::cases),
    ("R_resample", r_resample::cases),
];

fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for (section, cases) in SECTIONS {
        for Case { name, run } in cases() {
            let run = move || run(&Host::sim());
            trials.push(anywhere(&format!("sim::{section}::{name}"), run));
        }
        #[cfg(target_arch = "x86_64")]
        for Case { name, run } in cases() {
            let run = move || run(&Host::kvm());
            trials.push(kvm_test::kvm(&format!("kvm::{section}::{name}"), run));
        }
    }
    trials.extend(e_eventfd::trials());
    #[cfg(target_arch = "x86_64")]
    trials.extend(
        kernel_only::trials()
            .into_iter()
            .chain(side_by_side::trials()),
    );
    #[cfg(not(target_arch = "x86_64"))]
    trials.push(kvm_test::x86_only("the cases' VMs have x86 irqchips"));
    trials
}

fn main() -> ExitCode {
    kvm_test::main(trials())
}
