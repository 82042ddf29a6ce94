"""Phase 0: does the motion of codec latents have structure that a lookup could reuse? A study that can say no."""
