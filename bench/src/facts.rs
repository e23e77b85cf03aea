//! What the machine is: stands beside every figure, because figures travel without their machine.

use std::fs;
use std::process::Command;

use serde::Serialize;

/// The machine that was measured on.
#[derive(Debug, Serialize)]
pub(crate) struct Facts {
    /// Kernel release.
    kernel: String,
    /// CPU model, as `/proc/cpuinfo` names it.
    cpu: String,
    /// Cores that this process may use.
    cores: usize,
    /// Whether the kernel sees that it runs in a virtual machine.
    virtual_machine: bool,
    /// The clock that time is read from.
    clock_source: String,
}

impl Facts {
    /// Reads them; what cannot be read is `unknown`.
    pub(crate) fn read() -> Self {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |name: &str| {
            info.lines()
                .find_map(|line| line.split_once(':').filter(|(key, _)| key.trim() == name))
                .map(|(_, value)| value.trim().to_owned())
        };
        Self {
            kernel: first_line("/proc/sys/kernel/osrelease"),
            cpu: field("model name").unwrap_or_else(|| "unknown".to_owned()),
            cores: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            virtual_machine: field("flags")
                .is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor")),
            clock_source: first_line("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        }
    }

    /// Cores that this process may use.
    pub(crate) fn cores(&self) -> usize {
        self.cores
    }

    /// One line for people.
    pub(crate) fn line(&self) -> String {
        let kind = if self.virtual_machine { ", a virtual machine" } else { "" };
        format!("{}, {} cores{kind}, Linux {}", self.cpu, self.cores, self.kernel)
    }
}

/// Version of nginx, such as `nginx/1.22.1`.
pub(crate) fn nginx_version(nginx: &std::path::Path) -> String {
    Command::new(nginx)
        .arg("-v")
        .output()
        .ok()
        .and_then(|output| String::from_utf8(output.stderr).ok())
        .and_then(|text| text.rsplit(' ').next().map(|version| version.trim().to_owned()))
        .unwrap_or_else(|| "unknown".to_owned())
}

fn first_line(path: &str) -> String {
    fs::read_to_string(path)
        .ok()
        .and_then(|text| text.lines().next().map(str::to_owned))
        .unwrap_or_else(|| "unknown".to_owned())
}
