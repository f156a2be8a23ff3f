"""The MuseTalk core's tests; most need torch and diffusers, which the base install does not have (see conftest)."""
