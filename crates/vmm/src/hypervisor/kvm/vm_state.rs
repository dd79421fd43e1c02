//! What belongs to the VM as a whole: interrupt controllers and clock.

use super::plain::{from_bytes, to_bytes};
use super::{KvmError, Vm};
use kvm_bindings::{
    KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, kvm_clock_data, kvm_irqchip,
};
use snapshot::state::{State, StateWriter};

const VERSION: u16 = 1;

const CHIPS: [(u32, &str); 3] = [
    (KVM_IRQCHIP_PIC_MASTER, "x86_64/kvm/pic0"),
    (KVM_IRQCHIP_PIC_SLAVE, "x86_64/kvm/pic1"),
    (KVM_IRQCHIP_IOAPIC, "x86_64/kvm/ioapic"),
];
const CLOCK: &str = "x86_64/kvm/clock";

impl Vm {
    /// Writes the sections of the interrupt controllers and the clock. No vCPU runs.
    pub fn save(&self, sections: &mut StateWriter) -> Result<(), KvmError> {
        for (chip_id, name) in CHIPS {
            let mut chip = kvm_irqchip {
                chip_id,
                ..kvm_irqchip::default()
            };
            self.fd
                .get_irqchip(&mut chip)
                .map_err(KvmError::step("read an interrupt controller"))?;
            sections.put_bytes(name, VERSION, &to_bytes(&chip));
        }
        let clock = self
            .fd
            .get_clock()
            .map_err(KvmError::step("read the clock"))?;
        sections.put_bytes(CLOCK, VERSION, &to_bytes(&clock));
        Ok(())
    }

    /// Reads them back, after the vCPUs are as they were.
    pub fn restore(&self, sections: &State) -> Result<(), KvmError> {
        let bytes = |name: &str| {
            sections
                .bytes(name, VERSION)
                .map_err(|error| KvmError::State(error.to_string()))
        };
        for (chip_id, name) in CHIPS {
            let chip = kvm_irqchip {
                chip_id,
                ..from_bytes(name, bytes(name)?)?
            };
            self.fd
                .set_irqchip(&chip)
                .map_err(KvmError::step("set an interrupt controller"))?;
        }
        // The clock continues where it stopped, whatever time has passed: no flag asks KVM to add it.
        let saved: kvm_clock_data = from_bytes(CLOCK, bytes(CLOCK)?)?;
        let clock = kvm_clock_data {
            clock: saved.clock,
            ..kvm_clock_data::default()
        };
        self.fd
            .set_clock(&clock)
            .map_err(KvmError::step("set the clock"))
    }
}
