"""The pretrained language model: known text, the file's format, and pruning block by block."""

import json
import shutil

import pytest
import torch

from survey_lib.experiment.networks import language
from survey_lib.experiment.networks.language import Llama, Shape

STORIES = language.DATA / "stories260K"
TEXT = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park."


@pytest.fixture(scope="module")
def stories():
    model, tokenizer = language.load_stories()
    encoded = {
        name: [tokenizer.encode(text) for text in language.load_texts(name)]
        for name in ("evaluation", "calibration")
    }
    return model, tokenizer, encoded


def test_greedy_decoding_gives_the_known_story(stories):
    model, tokenizer, _ = stories
    assert tokenizer.decode(language.generate(model, [1], 48)).startswith(TEXT)


def test_sampling_follows_its_generator(stories):
    model, _, _ = stories
    first, again, other = (
        language.generate(model, [1], 12, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    assert first == again != other


def test_loss_of_the_dense_model_is_that_of_the_model_card(stories):
    model, _, encoded = stories
    assert float(language.token_losses(model, encoded["evaluation"]).mean()) == pytest.approx(
        1.2968, abs=0.25
    )


@pytest.mark.parametrize("text", [TEXT, 'She said, "hi!"\n\nThe end.', "naïve 🐶 café", ""])
def test_tokenizer_round_trip(stories, text):
    _, tokenizer, _ = stories
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_what_was_learned_first_is_joined_first():
    tokenizer = language.Tokenizer(["<unk>", "<s>", "</s>", "a", "b", " ", "ab", " ab", "ba"])
    assert tokenizer.encode("aba") == [1, 7, 3]  # " ab" + "a": "ab" was learned before "ba"


def test_later_tokens_do_not_change_earlier_logits(stories):
    model, _, encoded = stories
    tokens = torch.tensor([encoded["evaluation"][0][:24]])
    changed = tokens.clone()
    changed[0, 16:] = 5
    assert torch.allclose(model(tokens)[0, :16], model(changed)[0, :16], atol=1e-5)


def test_head_shares_the_embedding(stories):
    model, _, _ = stories
    assert model.head.weight is model.embedding.weight
    assert sum(parameter.numel() for parameter in model.parameters()) == 260_032


def test_context_is_checked():
    shape = Shape(dim=8, hidden=8, layers=1, heads=2, kv_heads=1, vocab=16, context=4)
    with pytest.raises(ValueError, match="5 tokens, but the context holds 4"):
        Llama(shape)(torch.zeros(1, 5, dtype=torch.long))


@pytest.mark.parametrize(
    "name, load", [("sampled.npy", language.load_sampled), ("model.safetensors", language.load_stories)]
)
def test_a_changed_byte_fails_the_checksum(name, load, tmp_path):
    shutil.copytree(STORIES, tmp_path / STORIES.name)
    data = bytearray((STORIES / name).read_bytes())
    data[-100] ^= 1
    (tmp_path / STORIES.name / name).write_bytes(data)
    with pytest.raises(ValueError, match="sha256"):
        load(tmp_path)


def test_windows_cut_the_stories_end_to_end():
    assert language.windows([[1, 2, 3], [1, 4, 5, 6]], 3).tolist() == [[1, 2, 3], [1, 4, 5]]


def test_calibration_stories_are_the_models_own(stories):
    model, tokenizer, _ = stories
    sampled = language.generate(model, [1], 24, torch.Generator().manual_seed(5))
    stored = json.loads((STORIES / "calibration.json").read_text())
    assert stored[5].startswith(tokenizer.decode(sampled)[:40])


def test_sampled_texts_are_the_models_own_and_not_those_of_the_calibration(stories):
    model, _, encoded = stories
    texts = language.load_sampled()
    assert texts.shape == (200, 257) and texts[:, 1:].numel() >= 50_000
    begun, drawing = (
        torch.full((200, 1), language.Tokenizer.BOS),
        torch.Generator().manual_seed(1),
    )
    assert torch.equal(language.continued(model, begun, 4, drawing), texts[:, :4])
    own = {tuple(story[:60]) for story in encoded["calibration"]}
    assert not own & {tuple(text[:60]) for text in texts.tolist()}


def test_on_its_own_text_the_loss_of_a_model_is_its_entropy(stories):
    """E over the model's own draws of −log p is −Σ p log p; 5,120 tokens have a standard error near 0.02."""
    model, *_ = stories
    texts = language.load_sampled()[:20].tolist()
    scores = language.log_probabilities(model, texts)
    entropy = -(scores.exp() * scores).sum(1).mean()
    assert float(language.token_losses(model, texts).mean()) == pytest.approx(float(entropy), abs=0.06)


def test_pruning_block_by_block_leaves_the_model_and_its_head(stories):
    model, _, encoded = stories
    before = {name: value.clone() for name, value in model.state_dict().items()}
    pruned, masks = language.prune_language(
        model, "magnitude", 0.5, language.windows(encoded["evaluation"], 64)
    )
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert pruned.head.weight is pruned.embedding.weight and torch.equal(
        pruned.head.weight, model.head.weight
    )
    weights = dict(pruned.named_parameters())
    assert len(masks) == 35 and all(bool((weights[name][~mask] == 0).all()) for name, mask in masks.items())


def damage(stories, names, sparsity):
    """Loss and divergence of each method on the evaluation stories."""
    model, _, encoded = stories
    calibration = language.windows(encoded["calibration"], 128)[:64]
    models = [language.prune_language(model, name, sparsity, calibration)[0] for name in names]
    losses = [float(language.token_losses(pruned, encoded["evaluation"]).mean()) for pruned in models]
    reference = language.log_probabilities(model, encoded["evaluation"])
    found = [language.log_probabilities(pruned, encoded["evaluation"]) for pruned in models]
    return losses, [float((reference.exp() * (reference - one)).sum(1).mean()) for one in found]


@pytest.mark.parametrize("sparsity", [0.2, 0.5])
def test_magnitude_wanda_and_sparsegpt_do_ever_less_damage(stories, sparsity):
    losses, divergences = damage(stories, ("magnitude", "wanda", "sparsegpt"), sparsity)
    assert divergences == sorted(divergences, reverse=True)
    if sparsity > 0.2:  # there the losses of magnitude and wanda are closer than the noise of 1,100 tokens
        assert losses == sorted(losses, reverse=True)


def test_in_two_of_four_as_well(stories):
    names = ("nm-magnitude:2:4", "wanda:2:4", "sparsegpt:2:4")
    losses, divergences = damage(stories, names, 0.5)
    assert losses == sorted(losses, reverse=True) and divergences == sorted(divergences, reverse=True)


def test_owl_gives_blocks_different_sparsities_and_keeps_the_total(stories):
    model, _, encoded = stories
    _, masks = language.prune_language(model, "owl", 0.5, language.windows(encoded["evaluation"], 64))
    blocks = [[mask for name, mask in masks.items() if name.startswith(f"blocks.{i}.")] for i in range(5)]
    kept = [sum(int(mask.sum()) for mask in block) / sum(mask.numel() for mask in block) for block in blocks]
    assert max(kept) - min(kept) > 0.05
    assert sum(kept) / 5 == pytest.approx(0.5, abs=0.005)
