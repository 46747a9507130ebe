"""λ of the losses on rendered pictures."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class LossWeights:
    """λ of every loss of the stages `render` and `joint`; 0 leaves a loss out.

    Attributes:
        picture: `pyramid_loss` of the result.
        ssim: `ssim_loss` of the result.
        perceptual: L_p (IPTalker eq. 8), or `substitute_loss` without VGG-19.
        warp: L_w of the warped references (Lip-and-Identity), or `warp_loss` without VGG-19.
        painted: `pyramid_loss` of the decoder's own picture. Without one of its own the decoder
            would starve behind a gate that opens early.
        gan: L_G (IPTalker eq. 11); above 0 a discriminator is trained by L_D (eq. 10).
        matching: L_f of the discriminator's features (Lip-and-Identity); needs `gan`.
        style: L_s (Lip-and-Identity).
        texture: `texture_loss` around the mouth.
        geometry: Error of the predicted landmarks, stage `joint`.
        sync: L_sync (IPTalker eq. 12), stage `joint`; needs a sync expert and a mouth map.
        sync_to_real: `relative_sync_loss`, like `sync`.
        attribute: L_v of the aligned feature (G4G eq. 12).
        reconstruction: L_r under masks of several sizes (G4G eq. 15).
        contrast: L_con of made mouths among other sounds (G4G eq. 16).
        contrast_to_real: How far made mouths score below real ones, by the same frozen encoders.
        gan_pairs: L_G of a second discriminator, on consecutive frames.
        correspondence: Error of found coordinates on the mean face (PersonaTalk).
        is_summed: Losses on features are sums over layers and sizes, as Lip-and-Identity writes
            them, not means.
    """

    picture: float = 0.0
    ssim: float = 0.0
    perceptual: float = 0.0
    warp: float = 0.0
    painted: float = 0.0
    gan: float = 0.0
    matching: float = 0.0
    style: float = 0.0
    texture: float = 0.0
    geometry: float = 0.0
    sync: float = 0.0
    sync_to_real: float = 0.0
    attribute: float = 0.0
    reconstruction: float = 0.0
    contrast: float = 0.0
    contrast_to_real: float = 0.0
    gan_pairs: float = 0.0
    correspondence: float = 0.0
    is_summed: bool = False
