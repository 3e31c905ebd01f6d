//! The networks that results are named after, and where their files are.

use std::path::{Path, PathBuf};

/// A network with samples.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// Its name on the command line and in results.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    folder: Folder,
    model: &'static str,
    inputs: &'static str,
    /// How many of the inputs number formats are chosen on.
    pub calibrate: usize,
}

/// Where folders of models are.
#[derive(Clone, Debug)]
pub struct Folders {
    /// The project's own models.
    pub models: PathBuf,
    /// Real models with data; see CONTRIBUTING.md.
    pub cases: PathBuf,
}

#[derive(Clone, Copy, Debug)]
enum Folder {
    Models(&'static str),
    Cases(&'static str),
}

/// Every workload, smallest first.
pub const WORKLOADS: [Workload; 7] = [
    Workload {
        name: "digits",
        about: "8x8 digits, a small CNN",
        folder: Folder::Models("digits"),
        model: "digits.onnx",
        inputs: "calibrate.npy",
        calibrate: 64,
    },
    case("mnist", "MNIST, convolutions and max-pools", "mnist_cnn_cntk", 32),
    case("mnist-strided", "MNIST, strided convolutions", "mnist_convsmall", 32),
    case("resnet20", "CIFAR-10, ResNet-20", "cifar10_resnet20", 32),
    case("squeezenet", "ImageNet, SqueezeNet 1.0", "imagenet_squeezenet1.0", 4),
    case("mobilenetv2", "ImageNet, MobileNetV2", "imagenet_mobilenetv2", 4),
    Workload {
        name: "resnet50",
        about: "ImageNet, ResNet-50 with random weights",
        folder: Folder::Cases("resnet50_random"),
        model: "model.onnx",
        inputs: "inputs.npy",
        calibrate: 2,
    },
];

const fn case(name: &'static str, about: &'static str, folder: &'static str, calibrate: usize) -> Workload {
    let folder = Folder::Cases(folder);
    Workload { name, about, folder, model: "model.onnx", inputs: "inputs.npy", calibrate }
}

impl Workload {
    /// The workload called `name`.
    pub fn named(name: &str) -> Option<Workload> {
        WORKLOADS.into_iter().find(|workload| workload.name == name)
    }

    /// The ONNX file.
    pub fn model(&self, folders: &Folders) -> PathBuf {
        self.folder(folders).join(self.model)
    }

    /// Typical inputs, float32.
    pub fn inputs(&self, folders: &Folders) -> PathBuf {
        self.folder(folders).join(self.inputs)
    }

    fn folder(&self, folders: &Folders) -> PathBuf {
        let (root, name): (&Path, _) = match self.folder {
            Folder::Models(name) => (&folders.models, name),
            Folder::Cases(name) => (&folders.cases, name),
        };
        root.join(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_projects_own_model_is_there() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let folders = Folders { models: root.join("models"), cases: root.join("cases") };
        let digits = Workload::named("digits").unwrap();
        assert!(digits.model(&folders).is_file() && digits.inputs(&folders).is_file());
        assert!(Workload::named("imagenet").is_none());
    }
}
