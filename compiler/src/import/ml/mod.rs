//! The operators of `ai.onnx.ml`, which exporters of tabular models write: trees, linear models,
//! and what prepares columns for them.
//!
//! Where two runtimes could differ the rules are onnxruntime's, held against what it answers
//! (`tests/tabular`).

mod ask;
mod attributes;
mod columns;
mod elements;
mod ensemble;
mod exact;
pub(super) mod label;
mod linear;
pub(super) mod prefix;
mod prepare;
mod svm;
mod trees;

use std::sync::Arc;

use tract_onnx::pb::tensor_proto::DataType;

use crate::nn::NodeId;

pub(super) use attributes::names_known;
pub(super) use columns::{Column, Columns, Known};
pub(super) use label::{encode, extract, zip_map};
pub(super) use linear::{linear_classifier, linear_regressor};
pub(super) use prepare::{binarise, follow, impute, normalise, one_hot, scale, vectorise};
pub(super) use svm::{svm_classifier, svm_regressor};
pub(super) use trees::{tree_classifier, tree_ensemble, tree_regressor};

/// The domain's name.
pub(super) const DOMAIN: &str = "ai.onnx.ml";
/// The newest version of the domain that the rules here were held against.
pub(super) const NEWEST_VERSION: i64 = 5;

/// Most columns of a table. Of a larger input no element is followed by itself.
pub(super) const MAX_COLUMNS: usize = 1 << 16;

/// What is known beside the network while a model is read.
#[derive(Default)]
pub(super) struct Tabular {
    /// Tensors of exact functions of the sample's elements.
    pub columns: Known,
    /// Nodes that stand for others, which have columns too: those of another type.
    stand_ins: Vec<NodeId>,
    /// What classes are called, if not by their index.
    pub labels: Option<Vec<String>>,
}

impl Tabular {
    /// Elements of the sample as they are, of type `of`, under another shape maybe.
    pub fn given(&mut self, id: NodeId, of: DataType, elements: impl Iterator<Item = usize>) {
        self.columns.insert(id, Arc::new(Columns { of, each: elements.map(Column::of).collect() }));
    }
}
