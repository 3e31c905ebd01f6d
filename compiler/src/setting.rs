//! What a caller can set, as messages speak of it. A message says which setting would help by the
//! name that the setting has in [`Options`](crate::compile::Options); a program whose users know it
//! by another name, a flag, puts that in its place with [`named`].

use std::fmt;

macro_rules! settings {
    ($($(#[$doc:meta])* $Setting:ident = $name:literal;)*) => {
        /// A setting that messages speak of.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Setting { $($(#[$doc])* $Setting,)* }

        impl Setting {
            /// Every one.
            pub const ALL: &[Setting] = &[$(Setting::$Setting),*];

            /// Its name in the options.
            pub fn name(self) -> &'static str {
                match self { $(Setting::$Setting => $name,)* }
            }
        }
    };
}

settings! {
    /// The calibration samples.
    Calibrate = "calibrate";
    /// Their labels.
    Labels = "labels";
    /// What another runtime answers for them.
    Expected = "checks.expected";
    /// How many of them must have the float model's label.
    MinAgreement = "checks.min_agreement";
    /// What the columns of a table are.
    Columns = "names.columns";
    /// What the classes are called.
    Classes = "names.classes";
    /// The input's extents.
    InputShape = "input_shape";
    /// Which of the model's results.
    Output = "part.output";
    /// Which row of it.
    Row = "part.row";
    /// What the client learns.
    Reveal = "reveal";
    /// The error rate that a batch is to catch.
    Catch = "catch";
    /// Width of activations.
    ActivationBits = "precision.activation_bits";
    /// Width of weights.
    WeightBits = "precision.weight_bits";
    /// Accumulators that no input overflows.
    WorstCase = "precision.worst_case";
    /// What of the shape of decision trees is hidden.
    HideShape = "hide_shape";
    /// What the model may ask for.
    Memory = "memory";
}

/// In backticks, which nothing else in a message has.
impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.name())
    }
}

/// The message with every setting called as `name` says.
pub fn named(message: &str, name: impl Fn(Setting) -> &'static str) -> String {
    Setting::ALL.iter().fold(message.to_owned(), |text, setting| text.replace(&setting.to_string(), name(*setting)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_is_called_as_the_caller_says() {
        let text = format!("{} {}s, {} 3; reveal", Setting::Calibrate, Setting::Output, Setting::Reveal);
        assert_eq!(text, "`calibrate` `part.output`s, `reveal` 3; reveal");
        let flag = |setting| match setting {
            Setting::Calibrate => "--calibrate",
            Setting::Reveal => "--reveal",
            _ => "-o",
        };
        assert_eq!(named(&text, flag), "--calibrate -os, --reveal 3; reveal");
        let mut names: Vec<&str> = Setting::ALL.iter().map(|setting| setting.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Setting::ALL.len());
    }
}
