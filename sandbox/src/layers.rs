//! The layers that confine a function.
//!
//! They are all on, in every build but one: with `--cfg layers_off`, in a target directory of its own, an environment
//! variable turns some of them off, so that tests can show that crimes are real, and what stops them then. No other
//! build has anything of that switch, in any profile; a test looks for it in the executables.

/// What confines a function, beside the way in which it is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    /// The policy of system calls; the gates for forks and control calls stay.
    Seccomp,
    /// Landlock's rules, for the template and for each worker.
    Landlock,
    /// Namespaces of its own, and a file system view.
    Namespaces,
    /// An identity of its own, without capabilities.
    Uid,
    /// Control groups.
    Groups,
    /// Resource limits.
    Limits,
    /// The time limit of an invocation, and that of a load.
    Deadline,
}

impl Layer {
    /// Every one.
    pub const ALL: [Self; 7] = [
        Self::Seccomp,
        Self::Landlock,
        Self::Namespaces,
        Self::Uid,
        Self::Groups,
        Self::Limits,
        Self::Deadline,
    ];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Seccomp => "seccomp",
            Self::Landlock => "landlock",
            Self::Namespaces => "namespaces",
            Self::Uid => "uid",
            Self::Groups => "groups",
            Self::Limits => "limits",
            Self::Deadline => "deadline",
        }
    }

    /// The one of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|layer| layer.name() == name)
    }
}

#[cfg(not(layers_off))]
mod switch {
    use std::ffi::CString;

    use seccompiler::BpfProgram;

    use super::Layer;

    /// Whether a layer is on.
    #[inline(always)]
    pub const fn on(_layer: Layer) -> bool {
        true
    }

    /// What a runner's environment says of layers.
    pub(crate) const fn for_runner() -> Option<CString> {
        None
    }

    /// What the operator must be told of layers.
    pub(crate) const fn warning() -> Option<String> {
        None
    }

    /// The program that stands in place of the policy.
    pub(crate) const fn gates() -> Option<BpfProgram> {
        None
    }
}

#[cfg(layers_off)]
mod switch {
    use std::ffi::CString;
    use std::sync::OnceLock;

    use seccompiler::{BpfProgram, sock_filter};

    use super::Layer;
    use crate::policy::CONTROL_CALL;

    const VARIABLE: &str = "HAIRTRIGGER_LAYERS_OFF";

    static OFF: OnceLock<Vec<Layer>> = OnceLock::new();

    fn layer(name: &str) -> Layer {
        Layer::named(name).unwrap_or_else(|| panic!("{VARIABLE} names {name:?}, which is no layer"))
    }

    fn variable() -> String {
        std::env::var(VARIABLE).unwrap_or_default()
    }

    /// Whether a layer is on.
    pub fn on(off: Layer) -> bool {
        let names = || variable().split(',').filter(|name| !name.is_empty()).map(layer).collect();
        !OFF.get_or_init(names).contains(&off)
    }

    /// What a runner's environment says of layers.
    pub(crate) fn for_runner() -> Option<CString> {
        CString::new(format!("{VARIABLE}={}", variable())).ok()
    }

    /// What the operator must be told of layers.
    pub(crate) fn warning() -> Option<String> {
        let off: Vec<_> = Layer::ALL.into_iter().filter(|layer| !on(*layer)).map(Layer::name).collect();
        let off = if off.is_empty() { "none".to_owned() } else { off.join(", ") };
        Some(format!(
            "THIS DAEMON IS BUILT FOR TESTS: layers of its confinement can be off, and these are: {off}."
        ))
    }

    /// The program that stands in place of the policy when that is off: it notifies the warden of what it serves, and
    /// allows everything else.
    #[expect(clippy::cast_possible_truncation, reason = "codes, and numbers of calls")]
    pub(crate) fn gates() -> Option<BpfProgram> {
        let statement = |code: u32, k: u32| sock_filter { code: code as u16, jt: 0, jf: 0, k };
        let equals = |k: u32, jt: u8, jf: u8| sock_filter {
            code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
            jt,
            jf,
            k,
        };
        let program = vec![
            statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
            equals(CONTROL_CALL as u32, 1, 0),
            equals(libc::SYS_clone as u32, 0, 1),
            statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_USER_NOTIF),
            statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
        ];
        (!on(Layer::Seccomp)).then_some(program)
    }
}

pub use switch::on;
pub(crate) use switch::{for_runner, gates, warning};
