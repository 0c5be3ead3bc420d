"""An attacker who races dkconf in every folder that he can write to, and canaries that tell whether he ever won."""
