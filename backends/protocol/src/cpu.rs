//! The forms in which inner loops exist, by the instructions that they need, and the one that this
//! process uses.
//!
//! All forms compute the same bits. The process uses the best one that its processor has, unless
//! one is [forced](force).

use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

/// The environment variable by which programs let their users force a form.
pub const VARIABLE: &str = "FUSION_CPU";

/// A form of all inner loops. Later ones are preferred.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// Rust for any processor, and whatever the libraries of ciphers and transforms find
    /// themselves.
    Portable,
    /// Arm's vectors of 128 bits, its cipher and its carry-less multiplication.
    Neon,
    /// Vectors of 256 bits with fused multiply-add; the cipher and carry-less multiplication in
    /// vectors of 128 bits.
    Avx2,
    /// The same with the cipher and carry-less multiplication in vectors of 256 bits.
    Avx2Vaes,
    /// Vectors of 512 bits with fused multiply-add; the cipher and carry-less multiplication in
    /// vectors of 128 bits.
    Avx512,
    /// Vectors of 512 bits for everything, with products of 52-bit integers.
    Avx512Ifma,
}

/// Why a form cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is none of this name.
    #[error("there are no kernels {0:?}; known are {known}", known = names(&Form::ALL))]
    Unknown(String),
    /// The processor lacks instructions.
    #[error("this processor has no {missing} for the kernels {name}; it can run {available}", missing = missing.join(", "),
        available = names(&Form::available()))]
    Lacking {
        /// The form's name.
        name: &'static str,
        /// The instruction sets that are not there.
        missing: Vec<&'static str>,
    },
    /// Another form is in use already.
    #[error("kernels cannot change: {0} are in use")]
    InUse(&'static str),
}

/// Takes the form that the environment forces, if it does; for the beginning of programs.
pub fn from_environment() -> Result<Form, Refused> {
    match std::env::var_os(VARIABLE) {
        Some(name) => force(&name.to_string_lossy()),
        None => Ok(Form::in_use()),
    }
}

static IN_USE: OnceLock<Form> = OnceLock::new();

/// Makes the process use the form of this name, before anything else has asked for the one [in
/// use](Form::in_use).
pub fn force(name: &str) -> Result<Form, Refused> {
    let form = Form::ALL.into_iter().find(|form| form.name() == name);
    let form = form.ok_or_else(|| Refused::Unknown(name.into()))?;
    let missing = form.missing();
    if !missing.is_empty() {
        return Err(Refused::Lacking { name: form.name(), missing });
    }
    match *IN_USE.get_or_init(|| form) {
        in_use if in_use == form => Ok(form),
        in_use => Err(Refused::InUse(in_use.name())),
    }
}

impl Form {
    /// All forms.
    pub const ALL: [Form; 6] = [Form::Portable, Form::Neon, Form::Avx2, Form::Avx2Vaes, Form::Avx512, Form::Avx512Ifma];

    /// The form that this process uses.
    pub fn in_use() -> Form {
        *IN_USE.get_or_init(|| Form::available().pop().unwrap_or(Form::Portable))
    }

    /// All forms that this processor can run, the best one last.
    pub fn available() -> Vec<Form> {
        Form::ALL.into_iter().filter(|form| form.missing().is_empty()).collect()
    }

    /// The form's name for users.
    pub fn name(self) -> &'static str {
        match self {
            Form::Portable => "portable",
            Form::Neon => "neon",
            Form::Avx2 => "avx2",
            Form::Avx2Vaes => "avx2-vaes",
            Form::Avx512 => "avx512",
            Form::Avx512Ifma => "avx512-ifma",
        }
    }

    /// What the form needs and this processor has not.
    pub fn missing(self) -> Vec<&'static str> {
        self.needs().iter().filter(|(_, has)| !has).map(|(name, _)| *name).collect()
    }

    /// The instruction sets that the form needs, and whether they are there.
    #[cfg(target_arch = "x86_64")]
    fn needs(self) -> Vec<(&'static str, bool)> {
        macro_rules! features {
            ($($name:tt)*) => { [$(($name, is_x86_feature_detected!($name))),*] };
        }
        let narrow = features!("avx2" "fma" "aes" "pclmulqdq");
        let narrow_cipher = features!("vaes" "vpclmulqdq");
        let wide = features!("avx512f" "avx512bw" "avx512cd" "avx512dq" "avx512vl");
        let wide_cipher = features!("avx512ifma" "avx512vbmi" "gfni");
        let parts: &[&[(&'static str, bool)]] = match self {
            Form::Portable => &[],
            Form::Neon => &[&[("neon", false)]],
            Form::Avx2 => &[&narrow],
            Form::Avx2Vaes => &[&narrow, &narrow_cipher],
            Form::Avx512 => &[&narrow, &wide],
            Form::Avx512Ifma => &[&narrow, &narrow_cipher, &wide, &wide_cipher],
        };
        parts.concat()
    }

    /// The instruction sets that the form needs, and whether they are there.
    #[cfg(target_arch = "aarch64")]
    fn needs(self) -> Vec<(&'static str, bool)> {
        use std::arch::is_aarch64_feature_detected as detected;
        match self {
            Form::Portable => Vec::new(),
            Form::Neon => vec![("neon", detected!("neon")), ("aes", detected!("aes"))],
            Form::Avx2 | Form::Avx2Vaes => vec![("avx2", false)],
            Form::Avx512 | Form::Avx512Ifma => vec![("avx512f", false)],
        }
    }

    /// The instruction sets that the form needs, and whether they are there.
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    fn needs(self) -> Vec<(&'static str, bool)> {
        match self {
            Form::Portable => Vec::new(),
            _ => vec![("vector instructions known here", false)],
        }
    }
}

/// The processor's name, with its family and model where the operating system tells: virtual
/// machines hide more exact names.
pub fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    described(&text).unwrap_or_else(|| std::env::consts::ARCH.into())
}

/// The processor of which Linux says this.
fn described(text: &str) -> Option<String> {
    let field = |name: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(found, _)| found.trim() == name).map(|(_, value)| value.trim())
    };
    let x86 = || Some((field("model name")?, "family", field("cpu family")?, "model", field("model")?));
    let arm = || Some((std::env::consts::ARCH, "implementer", field("CPU implementer")?, "part", field("CPU part")?));
    let (name, one, its_value, other, other_value) = x86().or_else(arm)?;
    Some(format!("{name} ({one} {its_value}, {other} {other_value})"))
}

fn names(forms: &[Form]) -> String {
    forms.iter().map(|form| form.name()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_forced_by_name_once() {
        let refused = force("abacus").unwrap_err();
        assert_eq!(refused, Refused::Unknown("abacus".into()));
        assert!(refused.to_string().ends_with("known are portable, neon, avx2, avx2-vaes, avx512, avx512-ifma"));
        for form in Form::ALL.into_iter().filter(|form| !form.missing().is_empty()) {
            let refused = force(form.name()).unwrap_err();
            assert!(matches!(&refused, Refused::Lacking { name, .. } if *name == form.name()));
            assert!(refused.to_string().contains("it can run portable"));
        }
        assert_eq!(force("portable"), Ok(Form::Portable));
        assert_eq!((Form::in_use(), force("portable")), (Form::Portable, Ok(Form::Portable)));
        let others = Form::available().into_iter().skip(1);
        others.for_each(|other| assert_eq!(force(other.name()), Err(Refused::InUse("portable"))));
    }

    #[test]
    fn processors_are_described_as_far_as_the_system_tells() {
        let xeon = "processor\t: 0\ncpu family\t: 6\nmodel\t\t: 85\nmodel name\t: Intel(R) Xeon(R) CPU @ 2.50GHz\n";
        assert_eq!(described(xeon).unwrap(), "Intel(R) Xeon(R) CPU @ 2.50GHz (family 6, model 85)");
        let arm = described("CPU implementer\t: 0x41\nCPU part\t: 0xd40\n").unwrap();
        assert!(arm.ends_with("(implementer 0x41, part 0xd40)"), "{arm}");
        assert_eq!(described("nothing"), None);
        assert!(!processor().is_empty());
    }

    #[test]
    fn files_have_the_names_that_users_have() {
        for form in Form::ALL {
            let text = format!("\"{}\"", form.name());
            assert_eq!(serde_json::to_string(&form).unwrap(), text);
            assert_eq!(serde_json::from_str::<Form>(&text).unwrap(), form);
        }
    }

    #[test]
    fn every_processor_runs_the_portable_form() {
        assert_eq!(Form::available()[0], Form::Portable);
    }
}
