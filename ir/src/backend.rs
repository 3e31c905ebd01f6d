//! Who computes a value: the names of the families of protocols, and what may be chosen about each.
//! Results depend on neither.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::op::Op;

/// What may be chosen about a family's protocols; its `Display` and `FromStr` are what follows the
/// family's name.
trait Choices: fmt::Display + FromStr + Copy {
    /// What may follow the name, for a message.
    const FORMS: &'static [&'static str];

    /// The same without a choice that means nothing for `op`.
    fn for_op(self, _op: &Op) -> Self {
        self
    }

    /// Whether its numbers are in range.
    fn are_valid(&self) -> bool {
        true
    }
}

/// One line for each family: its variant, with its choices if it has any, and its name. The order
/// is part of the plan file's format: a new one goes to the end.
macro_rules! families {
    ($($(#[$doc:meta])* $family:ident $(($choices:ident: $Choices:ty))? = $name:literal;)*) => {
        /// Which protocol family computes a value.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Backend {
            /// Not chosen yet.
            #[default]
            Unselected,
            /// Each party by itself on its own shares.
            Local,
            $(#[doc = concat!("The family `", $name, "`.")] $(#[$doc])* $family $(($Choices))?,)*
        }

        impl Backend {
            /// Whether it is a family of protocols, with choices in range.
            pub fn is_family(&self) -> bool {
                match self {
                    Backend::Unselected | Backend::Local => false,
                    $(Backend::$family $(($choices))? => true $(&& Choices::are_valid($choices))?,)*
                }
            }

            /// The same without a choice that only other operations than `op` have: `ot` is for
            /// products of matrices.
            pub fn for_op(self, op: &Op) -> Backend {
                match self {
                    Backend::Unselected | Backend::Local => self,
                    $(Backend::$family $(($choices))? => {
                        Backend::$family $((<$Choices as Choices>::for_op($choices, op)))?
                    })*
                }
            }

            /// Everything that may stand for a family in the text form.
            fn forms() -> Vec<String> {
                let mut forms = Vec::new();
                $(forms!(forms, $name $(, $Choices)?);)*
                forms
            }
        }

        impl fmt::Display for Backend {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    Backend::Unselected => f.write_str("unselected"),
                    Backend::Local => f.write_str("local"),
                    $(Backend::$family $(($choices))? => {
                        f.write_str($name)?;
                        $(fmt::Display::fmt($choices, f)?;)?
                        Ok(())
                    })*
                }
            }
        }

        impl FromStr for Backend {
            type Err = String;

            /// A backend as functions print it: `cheetah`, `cheetah(leaf=2)`.
            fn from_str(text: &str) -> Result<Backend, String> {
                match text {
                    "unselected" => return Ok(Backend::Unselected),
                    "local" => return Ok(Backend::Local),
                    _ => {}
                }
                $(read!(text, $family, $name $(, $Choices)?);)*
                Err(format!("no backend {text:?}: {} or local", Backend::forms().join(", ")))
            }
        }
    };
}

macro_rules! forms {
    ($forms:ident, $name:literal) => {
        $forms.push($name.to_owned())
    };
    ($forms:ident, $name:literal, $choices:ty) => {
        $forms.extend(<$choices as Choices>::FORMS.iter().map(|form| format!("{}{form}", $name)))
    };
}

macro_rules! read {
    ($text:ident, $family:ident, $name:literal) => {
        if $text == $name {
            return Ok(Backend::$family);
        }
    };
    ($text:ident, $family:ident, $name:literal, $choices:ty) => {
        if let Some(Ok(choices)) = $text.strip_prefix($name).map(str::parse::<$choices>) {
            return Ok(Backend::$family(choices));
        }
    };
}

families! {
    ///
    /// RLWE linear layers and carry-tree comparisons over correlated OTs.
    Cheetah(choices: Cheetah) = "cheetah";
    ///
    /// The protocols of CrypTFlow2, for comparison with them.
    CryptFlow2(choices: CryptFlow2) = "crypt_flow2";
    ///
    /// Garbled circuits, in one round trip; not for linear layers.
    Garbled = "garbled";
}

/// What the selector may choose about a value that the `cheetah` family computes. Results do not
/// depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Cheetah {
    /// Comparisons: most bits of a leaf of a carry tree, `1..=4`.
    pub leaf_bits: u8,
    /// Linear layers and products of matrices: whether the server packs results into fewer
    /// ciphertexts before it returns them.
    pub output_packing: bool,
    /// Products of matrices: whether by OTs, scalar by scalar, instead of ciphertexts.
    pub scalar_products: bool,
}

impl Default for Cheetah {
    /// Leaves of three bits, which need the fewest correlations; no packing, and ciphertexts for
    /// products.
    fn default() -> Cheetah {
        Cheetah { leaf_bits: 3, output_packing: false, scalar_products: false }
    }
}

impl Choices for Cheetah {
    const FORMS: &'static [&'static str] = &["", "(leaf=N,pack,ot)"];

    fn for_op(self, op: &Op) -> Cheetah {
        Cheetah { scalar_products: self.scalar_products && *op == Op::MatMul, ..self }
    }

    fn are_valid(&self) -> bool {
        (1..=4).contains(&self.leaf_bits)
    }
}

impl fmt::Display for Cheetah {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut choices = Vec::new();
        if self.leaf_bits != Cheetah::default().leaf_bits {
            choices.push(format!("leaf={}", self.leaf_bits));
        }
        if self.output_packing {
            choices.push("pack".into());
        }
        if self.scalar_products {
            choices.push("ot".into());
        }
        if choices.is_empty() { Ok(()) } else { write!(f, "({})", choices.join(",")) }
    }
}

impl FromStr for Cheetah {
    type Err = ();

    fn from_str(text: &str) -> Result<Cheetah, ()> {
        let mut cheetah = Cheetah::default();
        if text.is_empty() {
            return Ok(cheetah);
        }
        let list = text.strip_prefix('(').and_then(|list| list.strip_suffix(')')).ok_or(())?;
        for choice in list.split(',') {
            match choice.split_once('=') {
                Some(("leaf", bits)) => cheetah.leaf_bits = bits.parse().map_err(|_| ())?,
                None if choice == "pack" => cheetah.output_packing = true,
                None if choice == "ot" => cheetah.scalar_products = true,
                _ => return Err(()),
            }
        }
        Ok(cheetah)
    }
}

/// How the `crypt_flow2` family computes linear layers; its comparisons are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CryptFlow2 {
    /// By correlated OTs on the bits of the weights.
    Ot,
    /// By packed ciphertexts with rotations.
    He,
}

impl Choices for CryptFlow2 {
    const FORMS: &'static [&'static str] = &["-ot", "-he"];
}

impl fmt::Display for CryptFlow2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CryptFlow2::Ot => "-ot",
            CryptFlow2::He => "-he",
        })
    }
}

impl FromStr for CryptFlow2 {
    type Err = ();

    fn from_str(text: &str) -> Result<CryptFlow2, ()> {
        [CryptFlow2::Ot, CryptFlow2::He].into_iter().find(|choice| choice.to_string() == text).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backends_are_read_as_they_are_written() {
        let cheetah =
            |leaf_bits, output_packing| Backend::Cheetah(Cheetah { leaf_bits, output_packing, ..Cheetah::default() });
        let by_ot = Cheetah { scalar_products: true, ..Cheetah::default() };
        let written = [
            (Backend::Unselected, "unselected"),
            (Backend::Local, "local"),
            (cheetah(3, false), "cheetah"),
            (cheetah(2, false), "cheetah(leaf=2)"),
            (cheetah(3, true), "cheetah(pack)"),
            (cheetah(1, true), "cheetah(leaf=1,pack)"),
            (Backend::Cheetah(by_ot), "cheetah(ot)"),
            (Backend::CryptFlow2(CryptFlow2::Ot), "crypt_flow2-ot"),
            (Backend::CryptFlow2(CryptFlow2::He), "crypt_flow2-he"),
            (Backend::Garbled, "garbled"),
        ];
        for (backend, text) in written {
            assert_eq!((backend.to_string().as_str(), text.parse()), (text, Ok(backend)));
        }
    }

    #[test]
    fn what_is_no_backend_is_told_what_is() {
        for text in ["", "cheetahs", "cheetah(", "cheetah()", "cheetah(leaf=x)", "crypt_flow2", "garbled-ot", "Garbled"]
        {
            let message = text.parse::<Backend>().unwrap_err();
            let known = "cheetah, cheetah(leaf=N,pack,ot), crypt_flow2-ot, crypt_flow2-he, garbled or local";
            assert_eq!(message, format!("no backend {text:?}: {known}"));
        }
    }

    #[test]
    fn a_family_has_choices_in_range() {
        let cheetah = |leaf_bits| Backend::Cheetah(Cheetah { leaf_bits, ..Cheetah::default() }).is_family();
        assert!(!cheetah(0) && cheetah(1) && cheetah(4) && !cheetah(5));
        assert!(Backend::Garbled.is_family() && !Backend::Local.is_family() && !Backend::Unselected.is_family());
    }
}
