//! Machine profiles that come with the program: what `fusionc calibrate` wrote on the machines that
//! they name, one for each form of the kernels.

use fusion_catalogue::cpu::Form;

use crate::profile::Machine;

/// As calibration wrote them; the best form last.
const FILES: [&str; 5] = [
    include_str!("../machines/zen4-portable.json"),
    include_str!("../machines/zen4-avx2.json"),
    include_str!("../machines/zen4-avx2-vaes.json"),
    include_str!("../machines/zen4-avx512.json"),
    include_str!("../machines/zen4-avx512-ifma.json"),
];

impl Machine {
    /// All profiles that come with the program.
    pub fn all_built_in() -> Vec<Machine> {
        FILES.iter().map(|file| serde_json::from_str(file).expect("a built-in profile")).collect()
    }

    /// The profile that comes with the program for a machine that was not measured, whose kernels
    /// are `form`. Where that form was not measured anywhere, the one that is nearest.
    pub fn built_in(form: Form) -> Machine {
        // The same algorithms, of vectors of half the length.
        let nearest = if form == Form::Neon { Form::Avx2 } else { form };
        let mut all = Machine::all_built_in();
        let at = all.iter().position(|machine| machine.form == nearest).expect("a profile of every other form");
        all.swap_remove(at)
    }

    /// The profile that comes with the program for a machine like this one: it was not measured
    /// here.
    pub fn like_this() -> Machine {
        Machine::built_in(Form::in_use())
    }
}

impl Default for Machine {
    /// The one of the best form, wherever the program runs.
    fn default() -> Machine {
        Machine::built_in(Form::Avx512Ifma)
    }
}

#[cfg(test)]
mod tests {
    use fusion_catalogue::Primitive;

    use super::*;

    #[test]
    fn every_form_has_a_complete_profile() {
        for form in Form::ALL {
            let machine = Machine::built_in(form);
            assert!(machine.is_complete() && machine.nanoseconds.len() == Primitive::ALL.len());
            assert_eq!(machine.form, if form == Form::Neon { Form::Avx2 } else { form });
            assert!(machine.nanoseconds.values().all(|ns| ns.is_finite() && *ns >= 0.0));
            assert!(machine.error > 0.0 && machine.error < 0.5 && machine.threads > 0 && !machine.name.is_empty());
        }
        assert_eq!(Machine::all_built_in().len(), FILES.len());
    }

    #[test]
    fn better_forms_transform_and_extend_faster() {
        let all = Machine::all_built_in();
        for (slow, fast) in [(0, 1), (1, 4)] {
            for primitive in [Primitive::Kernel, Primitive::SilentOt] {
                let [slow, fast] = [&all[slow], &all[fast]].map(|machine| machine.nanoseconds[&primitive]);
                assert!(fast < slow, "{primitive:?}: {slow} to {fast}");
            }
        }
    }
}
