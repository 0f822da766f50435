// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//! The ports to KVM.

use kvm_test::{Machine, bare};
use notify_core::{Extension, KvmVcpu, KvmVm, Rejected, Vcpu, Vm};

use crate::call::*;
use crate::row::{Row, Section, Thread, give, leak, on, take};

pub(crate) fn sections() -> Vec<Section> {
    let section = |subject, thread, rows| Section {
        subject,
        thread,
        columns: &[],
        kvm: true,
        rows,
    };
    vec![
        section("`KvmVcpu`", Thread::Vcpu, vcpu()),
        section("`KvmVm`", Thread::Vmm, vm()),
    ]
}

fn machine() -> &'static Machine {
    Box::leak(Box::new(Machine::new().unwrap()))
}

fn kvm_vm() -> &'static KvmVm {
    leak(KvmVm::duplicate(machine().vm_fd()).unwrap())
}

fn vm() -> Vec<Row> {
    vec![
        Row::new(
            "`KvmVm::try_from`, `duplicate`",
            &[
                F_DUPFD_CLOEXEC,
                MUSL_F_SETFD,
                KVM_GET_API_VERSION,
                KVM_CHECK_EXTENSION,
            ],
            || {
                let vm_fd = leak(bare().unwrap());
                on(vm_fd, |vm_fd| {
                    std::mem::forget(KvmVm::duplicate(vm_fd).unwrap())
                })
            },
        ),
        Row::new("`check_extension` of those that never change", &[], || {
            on(kvm_vm(), |vm| {
                for capability in [Extension::IrqRouting, Extension::SignalMsi] {
                    vm.check_extension(capability).unwrap();
                }
            })
        }),
        Row::new(
            "`check_extension` of `MsiDevid` and `X2ApicApi`",
            &[KVM_CHECK_EXTENSION],
            || {
                on(kvm_vm(), |vm| {
                    vm.check_extension(Extension::MsiDevid).unwrap();
                    vm.check_extension(Extension::X2ApicApi).unwrap();
                })
            },
        ),
        Row::new("`platform`", &[KVM_IRQFD], || {
            on(kvm_vm(), |vm| vm.platform().unwrap())
        }),
        Row::new("`retire`", &[], || on(kvm_vm(), Vm::retire)),
        Row::new("drop", &[CLOSE], || {
            take(KvmVm::duplicate(machine().vm_fd()).unwrap(), drop)
        }),
    ]
}

fn vcpu() -> Vec<Row> {
    vec![
        Row::new(
            "`KvmVcpu::try_from`, `duplicate`",
            &[
                F_DUPFD_CLOEXEC,
                MUSL_F_SETFD,
                KVM_INTERRUPT,
                KVM_GET_TSC_KHZ,
            ],
            || {
                let vm_fd = bare().unwrap();
                let vcpu_fd = vm_fd.create_vcpu(0).unwrap();
                std::mem::forget(vm_fd);
                give(vcpu_fd, |vcpu_fd| match KvmVcpu::duplicate(&vcpu_fd) {
                    Ok(vcpu) => Ok((vcpu, vcpu_fd)),
                    Err(error) => Err(Rejected::new(error, vcpu_fd)),
                })
            },
        ),
        Row::new("`interrupt`", &[KVM_INTERRUPT], || {
            let vm_fd = bare().unwrap();
            let vcpu_fd = vm_fd.create_vcpu(0).unwrap();
            let vcpu = KvmVcpu::duplicate(&vcpu_fd).unwrap();
            std::mem::forget((vm_fd, vcpu_fd));
            on(leak(vcpu), |vcpu| vcpu.interrupt(0x41).unwrap())
        }),
    ]
}
