_base_ = './equal_budget.py'

# more half bodies, shifts, sizes and rotation
train_pipeline = _base_.train_pipeline
train_pipeline[3].prob = 0.35
train_pipeline[4].update(shift_factor=0.16, scale_factor=(0.6, 1.5), rotate_factor=80)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
