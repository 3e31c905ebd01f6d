"""Networks of token ids: small forms of transformers' own classes."""

import torch
import transformers as hf
from torch import nn

from tasks import PAD, TOKENS, WORDS

SMALL = dict(vocab_size=WORDS, hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48)
CALM = dict(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, initializer_range=0.1)


class Classifier(nn.Module):
    """The scores of one of transformers' classifiers, whose answers are more than tensors."""

    def __init__(self, model, places=None):
        super().__init__()
        self.model = model
        self.register_buffer("places", places)

    def forward(self, ids, mask=None, types=None):
        others = {"token_type_ids": types} if types is not None else {}
        if self.places is not None:
            others["position_ids"] = self.places
        return self.model(input_ids=ids, attention_mask=mask, **others).logits


def bert():
    config = hf.BertConfig(**SMALL, **CALM, max_position_embeddings=TOKENS, num_labels=3)
    return Classifier(hf.BertForSequenceClassification(config))


def distilbert():
    config = hf.DistilBertConfig(
        vocab_size=WORDS, dim=24, n_layers=2, n_heads=2, hidden_dim=48, max_position_embeddings=TOKENS, dropout=0.0,
        attention_dropout=0.0, seq_classif_dropout=0.0, initializer_range=0.1, num_labels=3)
    return Classifier(hf.DistilBertForSequenceClassification(config))


def roberta():
    config = hf.RobertaConfig(
        **SMALL, **CALM, max_position_embeddings=TOKENS + 2, type_vocab_size=1, pad_token_id=1, bos_token_id=0,
        eos_token_id=2, num_labels=3)
    # By itself it counts the words that are no padding, which would need integers of the sample.
    places = torch.arange(2, TOKENS + 2)[None]
    return Classifier(hf.RobertaForSequenceClassification(config), places)


def deberta():
    config = hf.DebertaV2Config(
        **SMALL, **CALM, max_position_embeddings=TOKENS, type_vocab_size=0, relative_attention=True,
        pos_att_type=["p2c", "c2p"], max_relative_positions=8, num_labels=3)
    return Classifier(hf.DebertaV2ForSequenceClassification(config))


def modernbert():
    config = hf.ModernBertConfig(
        **SMALL, max_position_embeddings=TOKENS, local_attention=4, pad_token_id=PAD, bos_token_id=1, eos_token_id=2,
        cls_token_id=1, sep_token_id=2, num_labels=3)
    return Classifier(hf.ModernBertForSequenceClassification(config))


class MeanState(nn.Module):
    """A mean of an encoder's states over the words that are there, and a linear layer of it."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder, self.head = encoder, nn.Linear(24, 3)

    def forward(self, ids, mask):
        states = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        weights = mask.unsqueeze(-1).to(states.dtype)
        mean = (states * weights).sum(1) / weights.sum(1).clamp(min=1e-9)
        return self.head(nn.functional.normalize(mean, dim=1) * 4)


def minilm():
    config = hf.BertConfig(**SMALL, **CALM, max_position_embeddings=TOKENS)
    return MeanState(hf.BertModel(config, add_pooling_layer=False))


def t5():
    config = hf.T5Config(
        vocab_size=WORDS, d_model=24, d_kv=12, d_ff=48, num_layers=2, num_heads=2, dropout_rate=0.0,
        attn_implementation="eager")
    return MeanState(hf.T5EncoderModel(config))


class LastState(nn.Module):
    """A decoder's last state, and a linear layer of it."""

    def __init__(self, decoder):
        super().__init__()
        self.decoder, self.head = decoder, nn.Linear(24, 3)

    def forward(self, ids):
        # Without a mask, transformers looks for several texts in one row, which TorchScript cannot
        # write.
        states = self.decoder(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).last_hidden_state
        return self.head(states[:, -1])


def llama():
    config = hf.LlamaConfig(**SMALL, num_key_value_heads=1, max_position_embeddings=TOKENS, initializer_range=0.1)
    return LastState(hf.LlamaModel(config))


def gpt2():
    config = hf.GPT2Config(
        vocab_size=WORDS, n_positions=TOKENS, n_embd=24, n_layer=2, n_head=2, resid_pdrop=0.0, embd_pdrop=0.0,
        attn_pdrop=0.0, initializer_range=0.1, bos_token_id=PAD, eos_token_id=PAD)
    return LastState(hf.GPT2Model(config))


def tagger():
    config = hf.BertConfig(**SMALL, **CALM, max_position_embeddings=TOKENS, num_labels=3)
    return Classifier(hf.BertForTokenClassification(config))
