"""Translation: pairs of texts, pseudo-translations, BLEU and chrF, what a translator keeps and costs."""
