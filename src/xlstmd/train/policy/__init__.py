"""How a policy learns: environments, rollouts, recurrent PPO, evaluation."""
