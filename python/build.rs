//! Says to the linker that the interpreter which loads the module has the symbols.

fn main() {
    pyo3_build_config::add_extension_module_link_args();
}
