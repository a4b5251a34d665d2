"""NT-Xent for labelled batches: the supervised contrastive loss."""

from __future__ import annotations

from imagematch.losses.base import LossValue, PairLoss, loss_value, register_loss, temperature_of
from imagematch.losses.batch import Batch
from imagematch.losses.distances import cosine_similarity
from imagematch.losses.lazy import tf
from imagematch.losses.reducers import count, masked_logsumexp, mean_where


@register_loss(
    "nt_xent",
    "The supervised contrastive loss (SimCLR's NT-Xent with labels).",
    source="Khosla et al., Supervised Contrastive Learning, 2020, equation 2; Chen et al., SimCLR, 2020, equation 1",
)
class NTXent(PairLoss):
    """Mean over anchors of the mean over their positives p of -log(exp(cos_ap / T) / sum of exp(cos_ak / T)).

    k runs over all images but the anchor. With two images a class it is SimCLR's NT-Xent; with more, "L_out" of the
    supervised form. Anchors without a positive do not count. Terms are anchors; active are those whose positives
    together have less than half of the probability.
    """

    temperature: float = temperature_of(0.1, "the commands of the authors' code; the paper, according to PML")

    def of(self, batch: Batch) -> LossValue:
        """The mean over the anchors of the batch that have a positive."""
        logits = cosine_similarity(batch) / self.temperature
        positive, negative = batch.positive, batch.negative
        everyone = masked_logsumexp(logits, positive | negative)
        n_positives = tf.reduce_sum(tf.cast(positive, logits.dtype), 1)
        mean_positive = tf.math.divide_no_nan(tf.reduce_sum(tf.where(positive, logits, 0), 1), n_positives)
        counted = batch.has_positive
        active = counted & (masked_logsumexp(logits, negative) > masked_logsumexp(logits, positive))
        return loss_value(mean_where(everyone - mean_positive, counted), count(active), count(counted))
