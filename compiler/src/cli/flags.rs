//! What this program calls the settings that messages of the compiler speak of.

use crate::setting::{Setting, named};

/// A message with every setting as its flag.
pub fn in_flags(message: impl ToString) -> String {
    named(&message.to_string(), flag)
}

fn flag(setting: Setting) -> &'static str {
    match setting {
        Setting::Calibrate => "--calibrate",
        Setting::Labels => "--labels",
        Setting::Expected => "--expected",
        Setting::MinAgreement => "--min-agreement",
        Setting::Columns => "--columns",
        Setting::Classes => "--classes",
        Setting::InputShape => "--input-shape",
        Setting::Output => "--output",
        Setting::Row => "--row",
        Setting::Reveal => "--reveal",
        Setting::Catch => "--catch",
        Setting::ActivationBits => "--activation-bits",
        Setting::WeightBits => "--weight-bits",
        Setting::WorstCase => "--acc worst-case",
        Setting::HideShape => "--hide-shape",
        Setting::Memory => "--max-memory",
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_setting_is_a_flag_of_compile() {
        let command = super::super::Cli::command();
        let compile = command.find_subcommand("compile").expect("fusionc compile");
        for setting in Setting::ALL {
            let name = flag(*setting).split(' ').next().unwrap_or_default();
            let known = compile.get_arguments().filter_map(|argument| argument.get_long());
            assert!(known.into_iter().any(|long| name.strip_prefix("--") == Some(long)), "{setting}: {name}");
        }
        let text = format!("more than {} 4GB; take {}", Setting::Memory, Setting::WorstCase);
        assert_eq!(in_flags(text), "more than --max-memory 4GB; take --acc worst-case");
    }
}
