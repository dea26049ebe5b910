"""How is the model fine-tuned, or taken as it was tuned elsewhere?"""
